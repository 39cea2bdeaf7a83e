import { closeSync, fstatSync, openSync, readFileSync, readSync } from "node:fs";
import { dirname, join } from "node:path";
import { UserError } from "../errors.ts";
import { type OnnxModel, readOnnx } from "../tensor/onnx/read.ts";

/**
 * Reads an ONNX file together with the data files beside it.
 * @throws UserError naming the file, and where a data file would lie outside the model's own folder
 */
export function readOnnxFile(path: string): OnnxModel {
  const read = <T>(file: string, how: () => T): T => {
    try {
      return how();
    } catch (error) {
      if (error instanceof UserError) throw error;
      throw new UserError(`${file}: cannot be read (${(error as Error).message})`);
    }
  };
  const bytes = read(path, () => readFileSync(path));
  return readOnnx(bytes, {
    where: path,
    external: (location, offset, length) => {
      if (!/^[^/\\:]+(\/[^/\\:]+)*$/.test(location) || location.split("/").includes(".."))
        throw new UserError(`${path}: refers to ${JSON.stringify(location)}, outside its own folder`);
      const file = join(dirname(path), location);
      return read(file, () => readRange(file, offset, length));
    },
  });
}

function readRange(file: string, offset: number, length: number | undefined): Uint8Array {
  const descriptor = openSync(file, "r");
  try {
    const { size } = fstatSync(descriptor);
    const wanted = length ?? size - offset;
    // Before memory is taken: the numbers are the model file's claim.
    if (wanted < 0 || offset + wanted > size)
      throw new UserError(`${file}: ends at byte ${size}, before ${offset + Math.max(wanted, 0)}`);
    const bytes = new Uint8Array(wanted);
    let done = 0;
    while (done < wanted) {
      const got = readSync(descriptor, bytes, done, wanted - done, offset + done);
      if (got === 0) throw new UserError(`${file}: ends early`);
      done += got;
    }
    return bytes;
  } finally {
    closeSync(descriptor);
  }
}
