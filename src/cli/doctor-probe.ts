import { create, toBinary } from "@bufbuild/protobuf";
import { ModelSchema } from "../tensor/onnx/onnx_pb.ts";

/**
 * Multiplies two matrices with one execution provider. Run as a program (`node doctor-probe.ts PROVIDER`) it prints
 * one JSON object, so that a driver that crashes takes this process with it and not the caller's.
 */
export async function probeProvider(
  provider: string,
): Promise<{ ok: boolean; seconds: number; error?: string }> {
  const began = performance.now();
  const seconds = () => (performance.now() - began) / 1000;
  try {
    const ort = await import("onnxruntime-node");
    const session = await ort.InferenceSession.create(matMul(), {
      executionProviders: [provider],
      logSeverityLevel: 4,
    });
    const tensor = (values: number[]) => new ort.Tensor("float32", Float32Array.from(values), [2, 2]);
    const { c } = await session.run({ a: tensor([1, 2, 3, 4]), b: tensor([5, 6, 7, 8]) });
    await session.release();
    const right = String(c.data) === "19,22,43,50";
    return right
      ? { ok: true, seconds: seconds() }
      : { ok: false, seconds: seconds(), error: `gave ${c.data}` };
  } catch (error) {
    return { ok: false, seconds: seconds(), error: String((error as Error).message ?? error).split("\n")[0] };
  }
}

/** The bytes of an ONNX model c = a b for 2 x 2 matrices, written by hand: the doctor must not need the compiler. */
function matMul(): Uint8Array {
  const matrix = (name: string) => ({
    name,
    type: {
      value: {
        case: "tensorType" as const,
        value: {
          elemType: 1,
          shape: { dim: [2n, 2n].map((value) => ({ value: { case: "dimValue" as const, value } })) },
        },
      },
    },
  });
  const model = create(ModelSchema, {
    irVersion: 10n,
    opsetImport: [{ domain: "", version: 21n }],
    graph: {
      name: "probe",
      node: [{ opType: "MatMul", input: ["a", "b"], output: ["c"] }],
      input: [matrix("a"), matrix("b")],
      output: [matrix("c")],
    },
  });
  return toBinary(ModelSchema, model);
}

if (process.argv[1] === import.meta.filename && process.argv[2])
  process.stdout.write(`${JSON.stringify(await probeProvider(process.argv[2]))}\n`);
