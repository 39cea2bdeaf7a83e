/**
 * A compiled n-gram model: the trie's arrays one behind the other, so that opening it is reading them where they stand. An ARPA file
 * of gigabytes is parsed once and then never again.
 */
import { UserError } from "../errors.ts";
import { type Level, type NgramModel, ngramModel } from "./ngram.ts";

const MAGIC = "VXNGRAM1";
/** Arrays begin at multiples of this. */
const ALIGN = 8;

/** Random access to the bytes of a file. */
export interface ByteReader {
  readonly path: string;
  readonly size: number;
  read(offset: number, into: Uint8Array): void;
}

interface Header {
  words: number;
  wordBytes: number;
  /** N-grams of each order. */
  sizes: number[];
}

const padded = (bytes: number) => Math.ceil(bytes / ALIGN) * ALIGN;
const littleEndian = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1;

/** Writes a model; `put` is given the bytes in order. Only the highest order has neither back-off weights nor children. */
export function writeNgrams(model: NgramModel, put: (bytes: Uint8Array) => void): void {
  if (!littleEndian)
    throw new UserError("compiled language models are written and read on little-endian machines only");
  const encoder = new TextEncoder();
  const words = encoder.encode(model.words.join("\n"));
  const header: Header = {
    words: model.words.length,
    wordBytes: words.length,
    sizes: model.levels.map(({ word }) => word.length),
  };
  const json = encoder.encode(JSON.stringify(header));
  const start = new Uint8Array(MAGIC.length + 4);
  start.set(encoder.encode(MAGIC));
  new DataView(start.buffer).setUint32(MAGIC.length, json.length, true);
  const section = (bytes: Uint8Array) => {
    put(bytes);
    const rest = padded(bytes.length) - bytes.length;
    if (rest > 0) put(new Uint8Array(rest));
  };
  const first = new Uint8Array(start.length + json.length);
  first.set(start);
  first.set(json, start.length);
  section(first);
  section(words);
  for (const [n, level] of model.levels.entries()) {
    const highest = n === model.levels.length - 1;
    const arrays = highest
      ? [level.word, level.logProb]
      : [level.word, level.logProb, level.backoff, level.first];
    for (const array of arrays) section(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
  }
}

/** Whether a file begins as a compiled model does. */
export function isCompiled(source: ByteReader): boolean {
  if (source.size < MAGIC.length) return false;
  const start = new Uint8Array(MAGIC.length);
  source.read(0, start);
  return new TextDecoder().decode(start) === MAGIC;
}

/** Opens a compiled model. @throws UserError naming the file where it is none, or is cut off */
export function readNgrams(source: ByteReader): NgramModel {
  const fail = (what: string): never => {
    throw new UserError(`${source.path}: ${what}`);
  };
  let at = 0;
  const take = (bytes: number): ArrayBuffer => {
    if (at + bytes > source.size) fail("is cut off");
    const out = new Uint8Array(bytes);
    source.read(at, out);
    at += padded(bytes);
    return out.buffer;
  };
  const decoder = new TextDecoder();
  if (source.size < MAGIC.length + 4) fail("is no compiled language model");
  const start = new Uint8Array(MAGIC.length + 4);
  source.read(0, start);
  if (decoder.decode(start.subarray(0, MAGIC.length)) !== MAGIC)
    fail("is no compiled language model; `voxsmith lm compile` makes one of an ARPA file");
  const jsonBytes = new DataView(start.buffer).getUint32(MAGIC.length, true);
  if (jsonBytes > source.size) fail("is cut off");
  const json = decoder.decode(new Uint8Array(take(start.length + jsonBytes), start.length));
  const { words: count, wordBytes, sizes }: Header = JSON.parse(json);
  const words = decoder.decode(take(wordBytes)).split("\n");
  if (words.length !== count) fail(`lists ${words.length} words and announces ${count}`);
  const levels = sizes.map((size, n): Level => {
    const highest = n === sizes.length - 1;
    const word = new Int32Array(take(4 * size));
    const logProb = new Float32Array(take(4 * size));
    if (highest) return { word, logProb, backoff: new Float32Array(0), first: new Int32Array(0) };
    return {
      ...{ word, logProb },
      backoff: new Float32Array(take(4 * size)),
      first: new Int32Array(take(4 * (size + 1))),
    };
  });
  if (at !== source.size) fail(`is ${source.size} bytes long and should be ${at}`);
  return ngramModel(levels, words);
}
