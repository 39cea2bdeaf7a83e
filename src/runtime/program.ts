import type { DType } from "../tensor/tensor.ts";

/** Numbers as the runtime holds them; booleans as bytes, half floats as their bits. */
export type Values = Float32Array | Uint16Array | Int32Array | Uint32Array | BigInt64Array | Uint8Array;

/** An array with its shape: what goes into and comes out of a compiled graph. */
export interface Value {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: Values;
}

export const f32 = (shape: readonly number[], data: Float32Array): Value => ({ dtype: "f32", shape, data });
export const f16 = (shape: readonly number[], data: Uint16Array): Value => ({ dtype: "f16", shape, data });
export const i32 = (shape: readonly number[], data: Int32Array | readonly number[]): Value => ({
  dtype: "i32",
  shape,
  data: data instanceof Int32Array ? data : Int32Array.from(data),
});
export const bool = (shape: readonly number[], data: Uint8Array): Value => ({ dtype: "bool", shape, data });
/** A float scalar. */
export const number = (value: number): Value => f32([], Float32Array.of(value));

export interface ProgramOptions {
  /** Threads of the runtime; default all cores. */
  readonly threads?: number;
  /** Write nodes of ONNX Runtime's own domain; default true. */
  readonly contrib?: boolean;
  /** The runtime's own graph optimisation; default "all". */
  readonly optimization?: "disabled" | "basic" | "extended" | "all";
  /** Where to write the graph as the runtime optimised it, for inspection. */
  readonly optimizedPath?: string;
  /** Prefix of the runtime's profile file, for benches. */
  readonly profilePrefix?: string;
  /** Sizes of the symbolic axes in the largest run to come, by name: memory for it is reserved at once. */
  readonly largest?: ReadonlyMap<string, number>;
  /** The runtime's memory arena; without it less memory is held between steps, and steps are slower. */
  readonly arena?: boolean;
}

/** A graph that is loaded in a runtime. Dispose it when done: its memory is not the garbage collector's. */
export interface Program {
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /**
   * Runs the graph. `into` names outputs to write in place into given arrays, without a copy; other outputs are
   * returned as new arrays.
   */
  run(
    feeds: Readonly<Record<string, Value>>,
    into?: Readonly<Record<string, Value>>,
  ): Promise<Record<string, Value>>;
  /**
   * The same with all arrays given, inputs and outputs, and wrapped for the runtime once: for small runs that are made
   * again and again on the same arrays, where wrapping would cost as much as running. Calls of the result may overlap.
   */
  bind(feeds: Readonly<Record<string, Value>>, into: Readonly<Record<string, Value>>): () => Promise<void>;
  /**
   * Makes sure that the arena, which all programs of a process share, has a stretch of so many bytes free. Values of a run then lie in one
   * stretch, where neighbours that are freed join; an arena that grew value by value cannot fit a larger value into the places of
   * several smaller ones. Where the operating system gives memory only when it is written to, too much costs nothing; where it
   * refuses so much, nothing is reserved.
   */
  reserve(bytes: number): void;
  /** Stops profiling and flushes its file. */
  endProfiling(): void;
  dispose(): Promise<void>;
}
