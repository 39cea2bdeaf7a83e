import { UserError } from "../errors.ts";
import { readLines } from "./formats/table.ts";

/** Pronunciations of words: the first is the usual one. Words in upper case. */
export type Lexicon = Map<string, string[][]>;

/**
 * Reads a pronunciation lexicon of the forms in use: CMUdict ("WORD  P1 P2", "WORD(2)  P1 P2", comments with `;;;`),
 * LibriSpeech's ("WORD<TAB>P1 P2"), and Montreal Forced Aligner's with a probability before the phones.
 */
export function readLexicon(path: string): Lexicon {
  const lexicon: Lexicon = new Map();
  for (const { line, text } of readLines(path)) {
    if (text.startsWith(";;;")) continue;
    const [entry, ...rest] = text
      .split(/\s+#\s/)[0]
      .trim()
      .split(/\s+/);
    const phones = rest.filter((phone) => !/^[\d.]+$/.test(phone));
    if (phones.length === 0) throw new UserError(`${path}:${line}: expected "WORD PHONE PHONE ..."`);
    const word = entry.replace(/\(\d+\)$/, "").toUpperCase();
    const known = lexicon.get(word);
    if (known === undefined) lexicon.set(word, [phones]);
    else known.push(phones);
  }
  return lexicon;
}

/**
 * Words of a text with their phones, by their first pronunciations.
 *
 * @param unknown gives the phones of a word that is not in the lexicon, such as by espeak-ng; without it such a word is
 *   an error that names it
 */
export function pronounce(
  text: string,
  lexicon: Lexicon,
  unknown?: (word: string) => string[],
): [word: string, phones: string[]][] {
  const words = text.match(/[\p{L}\p{M}\p{N}]+(?:['’-][\p{L}\p{M}\p{N}]+)*['’]?/gu) ?? [];
  return words.map((word) => {
    const plain = word.replaceAll("’", "'").toUpperCase();
    const found = lexicon.get(plain) ?? lexicon.get(plain.replace(/'$/, ""));
    if (found !== undefined) return [word, found[0]];
    if (unknown !== undefined) return [word, unknown(plain.toLowerCase())];
    throw new UserError(`the word "${plain.toLowerCase()}" is not in the lexicon`);
  });
}

/** Phones of a text, as `pronounce` finds them. */
export const lookUp = (text: string, lexicon: Lexicon, unknown?: (word: string) => string[]): string[] =>
  pronounce(text, lexicon, unknown).flatMap(([, phones]) => phones);
