import { UserError } from "../errors.ts";
import type { Upstream } from "./upstream.ts";
import { parseWav2Vec2Config, wav2vec2 } from "./wav2vec2.ts";

export type { Upstream, UpstreamInput, UpstreamOutput } from "./upstream.ts";
export { extractorFrames, parseWav2Vec2Config, type Wav2Vec2Config, wav2vec2 } from "./wav2vec2.ts";

/** Makes the upstream that a Hugging Face configuration describes. @throws UserError for a family we do not know. */
export function upstreamOf(config: Readonly<Record<string, unknown>>, where: string): Upstream {
  const type = config.model_type;
  if (type !== "wav2vec2")
    throw new UserError(
      `${where}: "model_type" is ${JSON.stringify(type) ?? "missing"}; this version reads "wav2vec2"`,
    );
  return wav2vec2(parseWav2Vec2Config(config, where));
}
