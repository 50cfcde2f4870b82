"""What the tests need of the official SDK. Importing this takes seconds, so that only who uses it does."""

import runpy
from pathlib import Path

import pieces_os_client
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

# By its file: as a part of its package it comes with the whole SDK, three times the time of all these.
_wrapper = Path(pieces_os_client.__file__).with_name("wrapper")
VersionChecker = runpy.run_path(str(_wrapper / "version_compatibility.py"))["VersionChecker"]

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
