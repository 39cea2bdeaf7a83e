/**
 * Slot filling scores as SUPERB has them (Lai et al. 2020, s3prl): text with tags `B-type` and `E-type` around values. A slot
 * whose type is not closed does not count, and values of a type are compared with the closest value of that type.
 */
import { characters, countEdits, type ErrorCounts, sumErrors, words } from "./error-rate.ts";

export interface SlotScores {
  /** Mean over utterances of the F1 of the sets of slot types; 1 where neither side has slots. */
  typeF1: number;
  /** Character and word errors of the values of all reference slots. */
  valueCer: ErrorCounts;
  valueWer: ErrorCounts;
}

/** The values of each slot type in a tagged text. Tags inside a value are taken out of it. */
export function parseSlots(text: string): Map<string, string[]> {
  const slots = new Map<string, string[]>();
  for (const [, type, value] of text.replace(/ +/g, " ").matchAll(/B-(\S+) (.+?) E-\1/g)) {
    const clean = value.replace(/B-\S+ /g, "").replace(/ E-\S+/g, "");
    const values = slots.get(type);
    if (values) values.push(clean);
    else slots.set(type, [clean]);
  }
  return slots;
}

/** Scores of tagged hypotheses against tagged references. */
export function slotScores(references: readonly string[], hypotheses: readonly string[]): SlotScores {
  if (references.length !== hypotheses.length)
    throw new RangeError(`${references.length} references but ${hypotheses.length} hypotheses`);
  let f1 = 0;
  const cer: ErrorCounts[] = [];
  const wer: ErrorCounts[] = [];
  references.forEach((reference, i) => {
    const [real, heard] = [parseSlots(reference), parseSlots(hypotheses[i])];
    const common = [...real.keys()].filter((type) => heard.has(type)).length;
    f1 += real.size + heard.size === 0 ? 1 : (2 * common) / (real.size + heard.size);
    for (const [type, values] of real) {
      for (const value of values) {
        cer.push(closest(characters(value), heard.get(type)?.map(characters)));
        wer.push(closest(words(value), heard.get(type)?.map(words)));
      }
    }
  });
  return { typeF1: f1 / references.length, valueCer: sumErrors(cer), valueWer: sumErrors(wer) };
}

function closest(value: string[], candidates: string[][] = [[]]): ErrorCounts {
  return candidates
    .map((candidate) => countEdits(value, candidate))
    .reduce((a, b) => (b.errors < a.errors ? b : a));
}
