import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { createGunzip } from "node:zlib";
import type { Vocabulary } from "../corpus/vocab.ts";
import { UserError } from "../errors.ts";
import { reason } from "../weights/file.ts";

/** Sentences as symbols, held in one array: a corpus of text has many short ones. */
export class Sentences {
  private symbols = new Uint16Array(1 << 12);
  private readonly ends: number[] = [];

  get count(): number {
    return this.ends.length;
  }

  /** Symbols of all of them together. */
  get total(): number {
    return this.ends.at(-1) ?? 0;
  }

  add(sentence: readonly number[]): void {
    const start = this.total;
    while (start + sentence.length > this.symbols.length) {
      const grown = new Uint16Array(2 * this.symbols.length);
      grown.set(this.symbols);
      this.symbols = grown;
    }
    this.symbols.set(sentence, start);
    this.ends.push(start + sentence.length);
  }

  at(index: number): Uint16Array {
    return this.symbols.subarray(index === 0 ? 0 : this.ends[index - 1], this.ends[index]);
  }

  length(index: number): number {
    return this.ends[index] - (index === 0 ? 0 : this.ends[index - 1]);
  }

  /** All symbols, for a hash of what they are. */
  bytes(): Uint8Array {
    return new Uint8Array(this.symbols.buffer, 0, 2 * this.total);
  }
}

export interface TextOptions {
  /** Sentences with symbols that the vocabulary lacks are left out and counted, instead of refused. */
  readonly skipBad?: boolean;
}

/**
 * Reads text into `into`: a sentence a line, of `.jsonl` files the `text` of each line; `.gz` is unpacked. Lines without text
 * are left out.
 * @returns how many sentences were left out because of their symbols
 * @throws UserError naming file and line
 */
export async function readSentences(
  path: string,
  vocabulary: Vocabulary,
  into: Sentences,
  { skipBad = false }: TextOptions = {},
): Promise<number> {
  const plain = path.replace(/\.gz$/, "");
  const file = createReadStream(path, { highWaterMark: 1 << 20 });
  const stream = plain === path ? file : file.pipe(createGunzip());
  const failed = new Promise<never>((_, reject) => {
    for (const each of [file, stream])
      each.once("error", (error: Error) => reject(new UserError(`${path}: ${reason(error)}`)));
  });
  let bad = 0;
  const read = (async () => {
    let line = 0;
    for await (const raw of createInterface({ input: stream, crlfDelay: Infinity })) {
      line++;
      const id = `${path}:${line}`;
      const text = plain.endsWith(".jsonl") ? textOf(raw, id) : raw;
      if (text === undefined || text.trim() === "") continue;
      try {
        into.add(vocabulary.encode({ id, audio: "", text }));
      } catch (error) {
        if (!skipBad || !(error instanceof UserError)) throw error;
        bad++;
      }
    }
    return bad;
  })();
  return Promise.race([read, failed]);
}

function textOf(line: string, where: string): string | undefined {
  if (line.trim() === "") return undefined;
  try {
    const { text } = JSON.parse(line) as { text?: unknown };
    return typeof text === "string" ? text : undefined;
  } catch {
    throw new UserError(`${where}: is not JSON; a .jsonl file has an object with "text" a line`);
  }
}
