import { UserError } from "../errors.ts";
import { linear } from "../nn/layers.ts";
import * as ops from "../ops/index.ts";
import { constantInit, ParameterTable } from "../params/params.ts";
import { compile } from "../runtime/cpu.ts";
import { f32, i32 } from "../runtime/program.ts";
import { symbol } from "../tensor/dims.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { openCheckpoint } from "../weights/checkpoint.ts";
import { unitLength } from "./losses/kind.ts";
import { openModel } from "./open-model.ts";
import { evaluationGraph } from "./program.ts";

/** A frozen model that listens to one recording at a time. */
export interface Listener {
  /** Clusters of its codebook, 0 where it is not asked for. */
  readonly codes: number;
  /** Width of their embeddings. */
  readonly codeSize: number;
  /** Rows of each frame: a hidden state, or the nearest code. */
  hidden(wave: Float32Array): Promise<{ data: Float32Array; columns: number }>;
  close(): Promise<void>;
}

/**
 * Opens a model for one of its hidden states (0 is the transformer's input, the last by default), or for the code whose
 * embedding is nearest, by cosine, to each projected frame.
 * @throws UserError where the model cannot be opened, or has no such layer or no codebook
 */
export async function openListener(path: string, what: number | "codebook" | undefined): Promise<Listener> {
  const { task, store } = openModel(path);
  const { upstream, masked } = task.model;
  const table = new ParameterTable();
  const audio = ops.input("audio", [symbol("batch"), symbol("samples")]);
  const frames = ops.input("frames", [symbol("batch")], "i32");
  const { hidden, last } = upstream.forward(
    { audio, frames: masked ? frames : undefined },
    table.at(upstream.prefix),
  );
  const layer = typeof what === "number" ? hidden[what] : last;
  if (layer === undefined)
    throw new UserError(`${path}: has hidden states 0 to ${hidden.length - 1}, not ${what}`);
  const values = { ...store.values };
  let [codes, codeSize, output]: [number, number, Tensor] = [0, 0, layer];
  if (what === "codebook") {
    const book = codebookOf(path);
    const [clusters, size] = book.embeddings.shape;
    const root = table;
    const projected = linear(last, root.at("final_proj"), size);
    const embeddings = root.get("label_embs_concat", [clusters, size], constantInit(0));
    const logits = ops.matMul(unitLength(projected), unitLength(embeddings), { transB: true });
    const top = ops.cast(ops.equal(logits, ops.reduceMax(logits, [2], true)), "f32");
    const index = ops.cast(ops.range(clusters), "f32");
    // The first of equal ones: the least index among those on top.
    const places = ops.add(ops.mul(top, index), ops.mul(ops.sub(1, top), clusters));
    output = ops.neg(ops.reduceMax(ops.neg(places), [2], true));
    values["final_proj.weight"] = f32(book.weight.shape, book.weight.data);
    values["final_proj.bias"] = f32(book.bias.shape, book.bias.data);
    values["label_embs_concat"] = f32(book.embeddings.shape, book.embeddings.data);
    [codes, codeSize] = [clusters, size];
  }
  const used = Object.fromEntries([...table.specs.keys()].map((name) => [name, values[name]]));
  const program = await compile(evaluationGraph(table, { output }, [audio, frames]), { threads: 1 });
  return {
    codes,
    codeSize,
    async hidden(wave) {
      const count = upstream.frames(wave.length) as number;
      const { output } = await program.run({
        ...used,
        audio: f32([1, wave.length], wave),
        frames: i32([1], [count]),
      });
      return { data: Float32Array.from(output.data as Float32Array), columns: output.shape[2] };
    },
    close: () => program.dispose(),
  };
}

function codebookOf(path: string) {
  const { weights } = openCheckpoint(path);
  try {
    const read = (name: string) => {
      const info = weights.infos.get(name);
      if (info === undefined)
        throw new UserError(
          `${path}: has no "${name}", so no codebook; it must be a HuBERT model as it was pre-trained`,
        );
      return { shape: info.shape as readonly number[], data: weights.readF32(name) };
    };
    return {
      weight: read("final_proj.weight"),
      bias: read("final_proj.bias"),
      embeddings: read("label_embs_concat"),
    };
  } finally {
    weights.close();
  }
}
