"""What the tests need of the official SDK. Importing this takes seconds, so that only who uses it does."""

import importlib.util
import runpy
from pathlib import Path

from pieces_os_client.api.connector_api import ConnectorApi
from pieces_os_client.api.model_api import ModelApi
from pieces_os_client.api.models_api import ModelsApi
from pieces_os_client.api.well_known_api import WellKnownApi
from pieces_os_client.api_client import ApiClient
from pieces_os_client.configuration import Configuration
from pieces_os_client.exceptions import ApiException
from pieces_os_client.models.application_name_enum import ApplicationNameEnum
from pieces_os_client.models.model import Model
from pieces_os_client.models.model_delete_cache_input import ModelDeleteCacheInput
from pieces_os_client.models.model_download_progress import ModelDownloadProgress
from pieces_os_client.models.platform_enum import PlatformEnum
from pieces_os_client.models.seeded_connector_connection import SeededConnectorConnection
from pieces_os_client.models.seeded_model import SeededModel
from pieces_os_client.models.seeded_score import SeededScore
from pieces_os_client.models.seeded_score_increment import SeededScoreIncrement
from pieces_os_client.models.seeded_tracked_application import SeededTrackedApplication
from pieces_os_client.models.streamed_identifiers import StreamedIdentifiers

_sdk = importlib.util.find_spec("pieces_os_client")
assert _sdk is not None
assert _sdk.origin is not None
# By its file: importing it as a part of its package imports the whole SDK, which takes three times as long again.
VersionChecker = runpy.run_path(str(Path(_sdk.origin).with_name("wrapper") / "version_compatibility.py"))[
    "VersionChecker"
]

__all__ = [
    "ApiClient",
    "ApiException",
    "ApplicationNameEnum",
    "Configuration",
    "ConnectorApi",
    "Model",
    "ModelApi",
    "ModelDeleteCacheInput",
    "ModelDownloadProgress",
    "ModelsApi",
    "PlatformEnum",
    "SeededConnectorConnection",
    "SeededModel",
    "SeededScore",
    "SeededScoreIncrement",
    "SeededTrackedApplication",
    "StreamedIdentifiers",
    "VersionChecker",
    "WellKnownApi",
]
