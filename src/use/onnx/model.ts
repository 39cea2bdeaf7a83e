import { readFileSync } from "node:fs";
import { fromBinary } from "@bufbuild/protobuf";
import { UserError } from "../../errors.ts";
import { load } from "../../runtime/cpu.ts";
import { f32, type Program, type ProgramOptions, type Value } from "../../runtime/program.ts";
import { ModelSchema } from "../../tensor/onnx/onnx_pb.ts";
import { reason } from "../../weights/file.ts";
import type { ExportMetadata } from "./sidecars.ts";
import { METADATA_KEY } from "./sidecars.ts";

/** A model that `voxsmith export` wrote, loaded from its file alone. Dispose it when done. */
export class OnnxModel {
  readonly path: string;
  readonly metadata: ExportMetadata;
  private readonly program: Program;

  private constructor(path: string, metadata: ExportMetadata, program: Program) {
    this.path = path;
    this.metadata = metadata;
    this.program = program;
  }

  /** @throws UserError where the file is not ours, or the runtime does not load it */
  static async open(path: string, options: ProgramOptions = {}): Promise<OnnxModel> {
    const metadata = readMetadata(path);
    try {
      return new OnnxModel(path, metadata, await load(path, options));
    } catch (error) {
      throw new UserError(`${path}: cannot be loaded (${(error as Error).message})`);
    }
  }

  /**
   * Runs the model on one recording, prepared as `metadata.audio` says. Results by objective ("" for features); of a model of
   * fixed sizes, frames past the recording are left in. A model with masks as inputs wants a task's (`readTask`).
   */
  async hear(
    samples: Float32Array,
    task: Readonly<Record<string, Value>> = {},
  ): Promise<Record<string, Value>> {
    const { audio, outputs } = this.metadata;
    const { masks = [], parameters = [] } = this.metadata.task ?? {};
    const missing = [...masks, ...parameters].find(({ name }) => !(name in task));
    if (missing !== undefined)
      throw new UserError(
        `${this.path}: wants the masks and heads of a task, and is not given "${missing.name}"`,
      );
    const room = audio.samples ?? samples.length;
    if (samples.length > room)
      throw new UserError(
        `${this.path}: takes ${room} samples (${room / audio.sampleRate} s) at most, not ${samples.length}`,
      );
    const padded = new Float32Array(room);
    padded.set(samples);
    const feeds: Record<string, Value> = { ...task, [audio.input]: f32([1, room], padded) };
    if (audio.mask !== undefined)
      feeds[audio.mask] = {
        dtype: "i64",
        shape: [1, room],
        data: BigInt64Array.from({ length: room }, (_, i) => (i < samples.length ? 1n : 0n)),
      };
    const results = await this.program.run(feeds);
    return Object.fromEntries(
      outputs.map(({ name, objective }) => [objective ?? "", results[name]] as const),
    );
  }

  dispose(): Promise<void> {
    return this.program.dispose();
  }
}

function readMetadata(path: string): ExportMetadata {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw new UserError(`${path}: ${reason(error)}`);
  }
  let text: string | undefined;
  try {
    text = fromBinary(ModelSchema, bytes).metadataProps.find(({ key }) => key === METADATA_KEY)?.value;
  } catch (error) {
    throw new UserError(`${path}: is not an ONNX file (${(error as Error).message})`);
  }
  if (text === undefined) throw new UserError(`${path}: was not written by \`voxsmith export\``);
  return JSON.parse(text);
}
