import { UserError } from "../errors.ts";
import { data2vec, parseData2VecConfig } from "./data2vec.ts";
import { decoar2, parseDecoar2Config } from "./decoar2.ts";
import { hubert, parseHubertConfig } from "./hubert.ts";
import { logMel, parseLogMelConfig } from "./log-mel.ts";
import { parsePaseConfig, pase } from "./pase.ts";
import { parsePasePlusConfig, pasePlus } from "./pase-plus.ts";
import type { Upstream } from "./upstream.ts";
import { parseVqWav2VecConfig, vqWav2Vec } from "./vq-wav2vec.ts";
import { parseWav2Vec2Config, wav2vec2 } from "./wav2vec2.ts";
import { parseWavLMConfig, wavlm } from "./wavlm.ts";

export type { TrainingConfig } from "./config.ts";
export { extractorFrames } from "./extractor.ts";
export type { Upstream, UpstreamInput, UpstreamOutput } from "./upstream.ts";
export { parseWav2Vec2Config, type Wav2Vec2Config, wav2vec2 } from "./wav2vec2.ts";

type Read = (json: unknown, where: string) => Upstream;

/** Families by Hugging Face's `model_type`; those that transformers does not have are ours. */
const FAMILIES: Readonly<Record<string, Read>> = {
  wav2vec2: (json, where) => wav2vec2(parseWav2Vec2Config(json, where)),
  hubert: (json, where) => hubert(parseHubertConfig(json, where)),
  wavlm: (json, where) => wavlm(parseWavLMConfig(json, where)),
  "data2vec-audio": (json, where) => data2vec(parseData2VecConfig(json, where)),
  decoar2: (json, where) => decoar2(parseDecoar2Config(json, where)),
  pase: (json, where) => pase(parsePaseConfig(json, where)),
  "pase-plus": (json, where) => pasePlus(parsePasePlusConfig(json, where)),
  "vq-wav2vec": (json, where) => vqWav2Vec(parseVqWav2VecConfig(json, where)),
  "log-mel": (json, where) => logMel(parseLogMelConfig(json, where)),
};

/** Makes the upstream that a Hugging Face configuration describes. @throws UserError for a family we do not know. */
export function upstreamOf(config: Readonly<Record<string, unknown>>, where: string): Upstream {
  const type = config.model_type;
  if (typeof type !== "string" || !Object.hasOwn(FAMILIES, type))
    throw new UserError(
      `${where}: "model_type" is ${JSON.stringify(type) ?? "missing"}; this version reads ${Object.keys(FAMILIES).join(", ")}`,
    );
  return FAMILIES[type](config, where);
}
