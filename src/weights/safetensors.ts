import { openFile, writeAtomically } from "./file.ts";
import { layOut, type TensorEntry, tensorsOf } from "./safetensors-format.ts";
import { bytesOf, type TensorFile } from "./tensor-file.ts";

export { parseSafetensors, type TensorEntry } from "./safetensors-format.ts";
export type { Dtype, Numbers, TensorFile, TensorInfo } from "./tensor-file.ts";

/**
 * Opens a safetensors file. Only the header is read; each tensor is read when asked for.
 * A fault anywhere in the header is one `UserError` that names the file and the tensor.
 */
export function openSafetensors(path: string): TensorFile {
  const source = openFile(path);
  try {
    return tensorsOf(source);
  } catch (error) {
    source.close();
    throw error;
  }
}

/**
 * Writes a safetensors file tensor by tensor (lazy `data` is made and dropped in turn), atomically. The bytes are those
 * that the Python library writes for the same tensors and metadata.
 */
export function writeSafetensors(
  path: string,
  entries: Iterable<TensorEntry>,
  metadata: Record<string, string> = { format: "pt" },
): void {
  const { ordered, header, byteLengths } = layOut(entries, metadata);
  writeAtomically(path, (put) => {
    put(header);
    for (const [i, { name, data }] of ordered.entries()) {
      const bytes = bytesOf(typeof data === "function" ? data() : data);
      if (bytes.length !== byteLengths[i]) {
        throw new RangeError(`tensor "${name}": ${bytes.length} bytes given, ${byteLengths[i]} declared`);
      }
      put(bytes);
    }
  });
}
