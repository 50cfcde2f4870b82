// The official TypeScript SDK, unmodified: node witness.js SDK URL MODEL CUSTOM FRAMES. Prints what it read, as JSON.
const [sdk, url, model, custom, frames] = process.argv.slice(2);
const pieces = require(sdk);
const configuration = new pieces.Configuration({ basePath: url });
const api = new pieces.ModelApi(configuration);
const all = new pieces.ModelsApi(configuration);

const settled = async (wanted) => {
  for (;;) {
    const seen = await api.modelsSpecificModelSnapshot({ model });
    if (wanted(seen)) return seen;
    await new Promise((done) => setTimeout(done, 20));
  }
};

(async () => {
  const said = { models: (await all.modelsSnapshot()).iterable.map((one) => one.name) };
  said.download = (await api.modelSpecificModelDownload({ model })).id;
  said.cancel = (await api.modelSpecificModelDownloadCancel({ model })).id;
  await settled((seen) => !seen.downloading);
  await api.modelSpecificModelDownload({ model });
  said.downloaded = (await settled((seen) => seen.downloaded)).downloaded;
  said.load = (await api.modelSpecificModelLoad({ model })).loaded;
  said.unload = (await api.modelSpecificModelUnload({ model })).loaded;
  const before = await api.modelsSpecificModelSnapshot({ model: custom });
  said.update = (await api.modelUpdate({ model: { ...before, description: "by a witness" } })).description;
  said.frames = JSON.parse(frames).map((frame) => pieces.ModelDownloadProgressFromJSON(JSON.parse(frame)));
  said.engine = (await new pieces.OllamaApi(configuration).ollamaStatusCheck()).installation.version;
  console.log(JSON.stringify(said));
})().catch((error) => { console.error(error); process.exit(1); });
