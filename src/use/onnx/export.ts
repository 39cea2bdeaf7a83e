import { random } from "../../random.ts";
import type { Value } from "../../runtime/program.ts";
import type { OpenedModel } from "../../train/open-model.ts";
import { relativeError } from "../../train/parity.ts";
import { Inference } from "../inference.ts";
import { exportedGraph } from "./graph.ts";
import { OnnxModel } from "./model.ts";
import { METADATA_KEY, metadataOf, writeSidecars } from "./sidecars.ts";
import { type OnnxFile, onnxPath, writeOnnxFile } from "./write.ts";

export interface ExportOptions {
  readonly opset: number;
  readonly quantize: boolean;
  /** Samples of every recording, where the sizes are to be fixed. */
  readonly samples?: number;
  /** Bytes of weights above which they go into a file beside the model. */
  readonly largest?: number;
}

/**
 * Writes a model for other runtimes: `onnx/model.onnx` (or `model_quantized.onnx`) in `folder`, with the files beside it that
 * transformers.js reads.
 */
export async function exportOnnx(
  folder: string,
  model: OpenedModel,
  options: ExportOptions,
): Promise<OnnxFile> {
  const graph = await exportedGraph(model, options.samples);
  const metadata = metadataOf(model, graph, options);
  const file = writeOnnxFile(onnxPath(folder, options.quantize), graph, {
    ...options,
    metadata: { [METADATA_KEY]: JSON.stringify(metadata) },
  });
  writeSidecars(folder, model, metadata, file.files.length > 1);
  return file;
}

/** How an exported model compares with the trainer's own evaluation pass. */
export interface ExportCheck {
  /** Worst relative error |exported - own| / |own| of any output on any signal, norms over all its values. */
  readonly error: number;
  /** Milliseconds for the longest signal: the exported model, the own pass. */
  readonly milliseconds: number;
  readonly ownMilliseconds: number;
  /** Seconds of the longest signal. */
  readonly seconds: number;
}

const LENGTHS = [0.61, 1.7, 10];
const REPEATS = 3;

/** Runs both on the same signals: noise under tones that come and go, at three lengths; `feeds` are a routed model's task. */
export async function checkExport(
  path: string,
  model: OpenedModel,
  options: { threads?: number; feeds?: Readonly<Record<string, Value>> } = {},
): Promise<ExportCheck> {
  const bare = model.task.objectives.length === 0;
  const onnx = await OnnxModel.open(path, options);
  const own = await Inference.of(model, bare ? { ...options, layers: "last" } : options);
  try {
    const { sampleRate, samples: most } = onnx.metadata.audio;
    const wholeOnly = most !== undefined && model.task.model.upstream.padSensitive;
    const lengths = LENGTHS.map((s) => Math.min(Math.round(s * sampleRate), most ?? Number.POSITIVE_INFINITY))
      .map((n) => (wholeOnly ? most : n))
      .filter((n) => own.frames(n) >= 1);
    let [error, milliseconds, ownMilliseconds] = [0, Infinity, Infinity];
    for (const length of lengths) {
      const signal = testSignal(length, sampleRate);
      const timed = async <T>(run: () => Promise<T>): Promise<[T, number]> => {
        const start = performance.now();
        return [await run(), performance.now() - start];
      };
      [milliseconds, ownMilliseconds] = [Infinity, Infinity];
      for (let i = 0; i < REPEATS; i++) {
        const [theirs, time] = await timed(() => onnx.hear(signal, options.feeds));
        const [ours, ownTime] = await timed(() => own.hear(signal, true));
        milliseconds = Math.min(milliseconds, time);
        ownMilliseconds = Math.min(ownMilliseconds, ownTime);
        const expected = bare ? { "": ours.hidden[0] } : ours.scores;
        for (const [name, { data }] of Object.entries(expected)) {
          const other = theirs[name].data as Float32Array;
          error = Math.max(error, relativeError(other.subarray(0, data.length), data as Float32Array));
        }
      }
    }
    return { error, milliseconds, ownMilliseconds, seconds: lengths.at(-1)! / sampleRate };
  } finally {
    await onnx.dispose();
    await own.dispose();
  }
}

function testSignal(samples: number, sampleRate: number): Float32Array {
  const chance = random(samples, "export check");
  return Float32Array.from({ length: samples }, (_, i) => {
    const t = i / sampleRate;
    const tone = Math.sin(2 * Math.PI * (200 + 40 * Math.floor(5 * t)) * t) * Math.sin(Math.PI * 5 * t) ** 2;
    return tone + 0.1 * chance.normal();
  });
}
