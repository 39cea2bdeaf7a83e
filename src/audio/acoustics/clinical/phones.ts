/** A stretch of a recording with the phone spoken in it; times in seconds. */
export interface PhoneInterval {
  start: number;
  end: number;
  /** ARPAbet (stress digits allowed) or IPA; "", "sil", "sp", "spn", "pau", "epi", "h#" and "<...>" are silence. */
  label: string;
}

export type PhoneClass = "vowel" | "consonant" | "silence";

const words = (list: string) => new Set(list.split(" "));
/** ARPAbet with TIMIT's additions. */
const arpabetVowels = words("aa ae ah ao aw ax axh ax-h axr ay eh er ey ih ix iy ow oy uh uw ux");
const arpabetConsonants = words(
  "b bcl ch d dcl dh dx el em en eng f g gcl hh hv jh k kcl l m n ng nx p pcl q r s sh t tcl th v w wh y z zh",
);
const silences = new Set(["", "sil", "sp", "spn", "pau", "epi", "h#", "_", "-", "#"]);
/** The vowels of the International Phonetic Alphabet (2020 chart). */
const ipaVowels = new Set("iyɨʉɯuɪʏʊeøɘɵɤoəɛœɜɞʌɔæɐaɶɑɒɚɝᵻ");
/** Marks before the first letter: stress and length do not make a class. */
const ipaPrefixes = /^[ˈˌ'.ː]+/u;

/**
 * Returns a function to the class of a phone of the same alphabet as `labels`: ARPAbet where all of them are ARPAbet symbols,
 * else IPA, where the first letter decides, so that diphthongs and long vowels are vowels. (One label alone would not do:
 * "y" is a consonant in the one and a vowel in the other.)
 */
export function phoneClassifier(labels: Iterable<string>): (label: string) => PhoneClass {
  let arpabet = true;
  for (const label of labels) {
    const plain = normalisePhone(label);
    if (!isSilence(plain) && !arpabetVowels.has(plain) && !arpabetConsonants.has(plain)) arpabet = false;
  }
  return (label) => {
    const plain = normalisePhone(label);
    if (isSilence(plain)) return "silence";
    const vowel = arpabet ? arpabetVowels.has(plain) : ipaVowels.has([...plain][0]);
    return vowel ? "vowel" : "consonant";
  };
}

function isSilence(plain: string): boolean {
  return silences.has(plain) || /^<.*>$/.test(plain);
}

/** Lower case, without stress digits and marks: "AA1" and "aa" are one phone. */
export function normalisePhone(label: string): string {
  return label
    .trim()
    .replace(ipaPrefixes, "")
    .toLowerCase()
    .replace(/(?<=[a-z])\d$/, "");
}
