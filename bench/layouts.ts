// Released models at their real sizes, as configurations.

const STABLE = { feat_extract_norm: "layer", do_stable_layer_norm: true, conv_bias: true };
const sized = (hidden_size: number, num_hidden_layers: number) => ({
  ...{ hidden_size, num_hidden_layers, num_attention_heads: 16, intermediate_size: 4 * hidden_size },
});
const LAYOUTS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  "wav2vec2-base": { model_type: "wav2vec2" },
  "xls-r-300m": { model_type: "wav2vec2", ...STABLE, ...sized(1024, 24) },
  "xls-r-1b": { model_type: "wav2vec2", ...STABLE, ...sized(1280, 48) },
  "xls-r-2b": { model_type: "wav2vec2", ...STABLE, ...sized(1920, 48) },
  "hubert-base": { model_type: "hubert" },
  "hubert-large": { model_type: "hubert", ...STABLE, ...sized(1024, 24) },
  "hubert-xlarge": { model_type: "hubert", ...STABLE, ...sized(1280, 48) },
  "wavlm-base": { model_type: "wavlm" },
  "wavlm-large": { model_type: "wavlm", ...STABLE, ...sized(1024, 24), conv_bias: false },
  "data2vec-base": { model_type: "data2vec-audio" },
  "data2vec-large": { model_type: "data2vec-audio", ...sized(1024, 24) },
  decoar2: { model_type: "decoar2" },
  pase: { model_type: "pase" },
  "log-mel": { model_type: "log-mel" },
};

/** The configuration of a layout; without such a name the process ends with the bench's usage and the names there are. */
export function layoutNamed(name: string, usage: string): Readonly<Record<string, unknown>> {
  if (Object.hasOwn(LAYOUTS, name)) return LAYOUTS[name];
  console.error(`${usage}\n\nNAME is one of ${Object.keys(LAYOUTS).join(", ")}`);
  process.exit(2);
}
