import { mean } from "../functionals.ts";
import { normalisePhone } from "./phones.ts";

/** Frequencies of one vowel's first two formants, Hz. */
export interface VowelMeasure {
  label: string;
  f1: number;
  f2: number;
}

/** Measures of vowel articulation from the corner vowels /a i u/; NaN where one of them is missing. */
export interface VowelSpace {
  /** Area of the triangle in the plane of F1 and F2, Hz^2. */
  vsa: number;
  /** Formant centralisation ratio and its reciprocal, the vowel articulation index (Sapir et al., JSLHR 53, 2010). */
  fcr: number;
  vai: number;
  /** F2 of /i/ over F2 of /u/. */
  f2Ratio: number;
}

const corners = {
  a: new Set(["aa", "a", "ɑ", "aː", "ɑː", "ɐ"]),
  i: new Set(["iy", "i", "iː"]),
  u: new Set(["uw", "u", "uː", "ux"]),
};

/** Takes the mean of each corner vowel over `vowels`, of one recording or of all of a speaker. */
export function vowelSpace(vowels: readonly VowelMeasure[]): VowelSpace {
  const corner = (labels: Set<string>) => {
    const found = vowels.filter((v) => labels.has(normalisePhone(v.label)));
    const at = (of: (v: VowelMeasure) => number) => (found.length > 0 ? mean(found.map(of)) : Number.NaN);
    return { f1: at((v) => v.f1), f2: at((v) => v.f2) };
  };
  const a = corner(corners.a);
  const i = corner(corners.i);
  const u = corner(corners.u);
  const fcr = (u.f2 + a.f2 + i.f1 + u.f1) / (i.f2 + a.f1);
  return {
    vsa: Math.abs(i.f1 * (a.f2 - u.f2) + a.f1 * (u.f2 - i.f2) + u.f1 * (i.f2 - a.f2)) / 2,
    fcr,
    vai: 1 / fcr,
    f2Ratio: i.f2 / u.f2,
  };
}
