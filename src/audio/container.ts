import { type ByteSource, refuse } from "./pcm.ts";

/** Bytes of the ID3v2 tags that stand before the audio of MP3 and some FLAC files (id3.org, "ID3v2.4", section 3.1). */
export function skipId3(source: ByteSource): number {
  let at = 0;
  for (;;) {
    const head = source.read(at, at + 10);
    if (head.length < 10 || head[0] !== 0x49 || head[1] !== 0x44 || head[2] !== 0x33) return at;
    const size = (head[6] << 21) | (head[7] << 14) | (head[8] << 7) | head[9];
    at += 10 + size + (head[5] & 0x10 ? 10 : 0);
  }
}

/**
 * Runs a WebAssembly decoder. The decoder packages print each fault to the console and go on, some of them without
 * end; here the first fault ends the decoding with one sentence. `decode` does its work before it returns (a promise that
 * it returns only carries the result), so no other code ever meets the replaced console.
 */
export async function quietly<T>(name: string, format: string, decode: () => T | Promise<T>): Promise<T> {
  const print = console.error;
  let reason = "";
  try {
    let result: T | Promise<T>;
    console.error = (fault: unknown) => {
      reason = ` (${String(fault).replace(/\s+/g, " ").trim()})`;
      throw new Error(reason);
    };
    try {
      result = decode();
    } finally {
      console.error = print;
    }
    return await result;
  } catch {
    return refuse(name, `the ${format} data is damaged${reason}`);
  }
}

/** Frees a decoder; one whose memory a damaged file has upset may fail to, and is left to the garbage collector. */
export function release(decoder: { free(): void }): void {
  try {
    decoder.free();
  } catch {
    // Its memory is its own WebAssembly instance's and goes with it.
  }
}
