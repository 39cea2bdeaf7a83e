import { existsSync } from "node:fs";
import { join } from "node:path";
import { foldTimitPhones, readTimitLabels } from "../formats/timit.ts";
import type { Utterance } from "../manifest.ts";
import { choiceOption, needFiles, type Reader, stem } from "./reader.ts";

const layout = "TRAIN/DR1/FCJF0/SA1.WAV (or .wav) with SA1.PHN, SA1.WRD and SA1.TXT, and TEST/...";

/** The 24 speakers of the core test set (TIMIT's documentation). */
const core = new Set(
  (
    "mdab0 mwbt0 felc0 mtas1 mwew0 fpas0 mjmp0 mlnt0 fpkt0 mlll0 mtls0 fjlm0 " +
    "mbpm0 mklt0 fnlp0 mcmj0 mjdh0 fmgd0 mgrt0 mnjm0 fdhc0 mjln0 mpam0 fmld0"
  ).split(" "),
);
/** The 50 speakers that are in use for validation, of the rest of the test part (Kaldi's recipe). */
const development = new Set(
  (
    "faks0 fdac1 fjem0 mgwt0 mjar0 mmdb1 mmdm2 mpdf0 fcmh0 fkms0 mbdg0 mbwm0 mcsh0 fadg0 fdms0 fedw0 mgjf0 mglb0 mrtk0 " +
    "mtaa0 mtdt0 mthc0 mwjg0 fnmr0 frew0 fsem0 mbns0 mmjr0 mdls0 mdlf0 mdvc0 mers0 fmah0 fdrw0 mrcs0 mrjm4 fcal1 mmwh0 " +
    "fjsj0 majc0 mjsw0 mreb0 fgjd0 fjmg0 mroa0 mteb0 mjfc0 mrjr0 fmml0 mrws1"
  ).split(" "),
);

/** TIMIT (LDC93S1). */
export const timit: Reader = {
  title: "TIMIT: read American English with hand-made phone times",
  layout,
  options: {
    phones: "61 as labelled, or 39 folded (Lee & Hon, 1989); default 61",
    sa: "no (default) leaves out the two sentences that all speakers read, yes keeps them",
    test: "core (default): 24 speakers for test and 50 for validation; full: all 168 for test",
  },
  read(folder, options) {
    const folded = choiceOption(options, "phones", ["61", "39"]) === "39";
    const keepShared = choiceOption(options, "sa", ["no", "yes"]) === "yes";
    const test = choiceOption(options, "test", ["core", "full"]);
    const files = needFiles(folder, layout, ".phn");
    return files.flatMap((file): Utterance[] => {
      const [part, dialect, speaker] = file.split("/").slice(-4);
      const name = speaker?.toLowerCase();
      if (name === undefined || (!keepShared && /^sa/i.test(stem(file)))) return [];
      const isTest = part.toLowerCase() === "test";
      const split = !isTest
        ? "train"
        : test === "full" || core.has(name)
          ? "test"
          : development.has(name)
            ? "valid"
            : "";
      if (split === "") return [];
      const base = join(folder, file.slice(0, -4));
      const upper = /\.PHN$/.test(file);
      // SPHERE files keep their name; corpora converted to RIFF often add a second ending.
      const audio = ["WAV", "wav", "WAV.wav", "flac"]
        .map((e) => `${base}.${e}`)
        .find((path) => existsSync(path));
      const phones = readTimitLabels(join(folder, file));
      const words = `${base}.${upper ? "WRD" : "wrd"}`;
      const spoken = existsSync(words) ? readTimitLabels(words) : [];
      return [
        {
          id: `${name}-${stem(file).toLowerCase()}`,
          audio: audio ?? `${base}.WAV`,
          speaker: name,
          text: spoken.map((w) => w.phone).join(" "),
          phones: folded ? foldTimitPhones(phones) : phones,
          words: spoken.map(({ phone, start, end }) => ({ word: phone, start, end })),
          labels: { dialect: dialect.toLowerCase(), gender: name.startsWith("f") ? "female" : "male" },
          split,
        },
      ];
    });
  },
};
