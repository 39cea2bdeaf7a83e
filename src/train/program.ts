import * as ops from "../ops/index.ts";
import type { ParameterTable } from "../params/params.ts";
import { compile } from "../runtime/cpu.ts";
import type { Program, ProgramOptions } from "../runtime/program.ts";
import type { Graph } from "../tensor/graph.ts";
import { recompute } from "../tensor/passes/recompute.ts";
import type { Region, Tensor } from "../tensor/tensor.ts";

export interface Traced {
  /** The scalar that is differentiated. */
  readonly loss: Tensor;
  /** Further values to return, by name. */
  readonly outputs: Readonly<Record<string, Tensor>>;
  /** Graph inputs besides the parameters. */
  readonly inputs: readonly Tensor[];
}

export interface TrainingOptions extends ProgramOptions {
  readonly trained: (parameter: string) => boolean;
  /** Regions whose inner values are computed again in the backward pass. */
  readonly recompute?: (region: Region) => boolean;
  /** In those regions, keep products and recompute only what is cheap. */
  readonly keepProducts?: boolean;
}

const named = (tensor: Tensor) => ({ name: (tensor.node.attrs as { name: string }).name, tensor });
export const gradientName = (parameter: string): string => `grad.${parameter}`;

/** Forward and backward as one graph: outputs `loss`, the traced outputs and `grad.<parameter>` of what trains. */
export function trainingGraph(table: ParameterTable, traced: Traced, options: TrainingOptions): Graph {
  const parameters = [...table.inputs].filter(([name]) => options.trained(name));
  const { wrt, of } = ops.gradients(
    traced.loss,
    parameters.map(([, tensor]) => tensor),
  );
  const reached = parameters
    .flatMap(([name], i) => {
      const gradient = wrt[i];
      return gradient === undefined ? [] : [{ name: gradientName(name), tensor: gradient }];
    })
    // In order of creation, from the loss backwards: what is written in this order is freed in this order.
    .sort((a, b) => a.tensor.id - b.tensor.id);
  const forward = [
    { name: "loss", tensor: traced.loss },
    ...Object.entries(traced.outputs).map(([name, tensor]) => ({ name, tensor })),
  ];
  const graph: Graph = {
    inputs: [...table.inputs.values(), ...traced.inputs].map(named),
    outputs: [...forward, ...reached],
    late: reached.map(({ name }) => name),
  };
  if (options.recompute === undefined) return graph;
  return recompute(
    graph,
    {
      forward: forward.map(({ tensor }) => tensor),
      gradientOf: of,
      chosen: options.recompute,
      keepProducts: options.keepProducts,
    },
    ops.after,
  );
}

export const compileTraining = (
  table: ParameterTable,
  traced: Traced,
  options: TrainingOptions,
): Promise<Program> => compile(trainingGraph(table, traced, options), options);

/** Forward only. */
export function evaluationGraph(
  table: ParameterTable,
  outputs: Readonly<Record<string, Tensor>>,
  inputs: readonly Tensor[],
): Graph {
  return {
    inputs: [...table.inputs.values(), ...inputs].map(named),
    outputs: Object.entries(outputs).map(([name, tensor]) => ({ name, tensor })),
    late: [],
  };
}
