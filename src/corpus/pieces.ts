import { bestMerge } from "./merges.ts";
import { SentencePieceModel } from "./sentence-piece.ts";

/**
 * Subword units of a text as plain data, so that a run's folder holds them: merges that were learned here, or a SentencePiece
 * model's file as base64. A piece that begins a word starts with "▁".
 */
export type Pieces =
  | { readonly symbols: readonly string[]; readonly merges: readonly (readonly [string, string])[] }
  | { readonly sentencePiece: string };

/** Begins a word, as in SentencePiece. */
export const wordStart = "▁";

interface Cutter {
  readonly inventory: readonly string[];
  cut(text: string): readonly string[];
}
const cutters = new WeakMap<Pieces, Cutter>();

/** All pieces there are. */
export const inventoryOf = (pieces: Pieces): readonly string[] => cutterOf(pieces).inventory;

/** A text in pieces; letters that no piece has stand by themselves. */
export const cutInto = (pieces: Pieces, text: string): string[] => [...cutterOf(pieces).cut(text)];

/** The text of pieces. */
export const joinPieces = (pieces: readonly string[]): string =>
  pieces.join("").split(wordStart).filter(Boolean).join(" ");

function cutterOf(pieces: Pieces): Cutter {
  let cutter = cutters.get(pieces);
  if (cutter === undefined) {
    cutter = "merges" in pieces ? merging(pieces) : read(pieces.sentencePiece);
    cutters.set(pieces, cutter);
  }
  return cutter;
}

function merging({ symbols, merges }: Extract<Pieces, { merges: unknown }>): Cutter {
  const word = wordCutter(merges);
  return {
    inventory: symbols,
    cut: (text) => wordsOf(text).flatMap(word),
  };
}

function read(base64: string): Cutter {
  const model = SentencePieceModel.parse(new Uint8Array(Buffer.from(base64, "base64")));
  return { inventory: model.pieces, cut: (text) => model.encode(text) };
}

export const wordsOf = (text: string): string[] => text.normalize("NFC").split(/\s+/u).filter(Boolean);
export const lettersOf = (word: string): string[] => [wordStart, ...word];

/** Applies merges to words, in the order in which they were learnt. */
export function wordCutter(merges: readonly (readonly [string, string])[]): (word: string) => string[] {
  const ranks = new Map(merges.map(([a, b], i) => [`${a} ${b}`, i]));
  const known = new Map<string, string[]>();
  return (word) => {
    let cut = known.get(word);
    if (cut === undefined) {
      cut = bestMerge(lettersOf(word), (_, a, b) => {
        const rank = ranks.get(`${a} ${b}`);
        return rank === undefined ? undefined : -rank;
      });
      known.set(word, cut);
    }
    return cut;
  };
}
