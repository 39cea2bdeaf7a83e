import { basename, dirname, join } from "node:path";
import { UserError } from "../../errors.ts";
import { readTranscripts } from "../formats/kaldi.ts";
import { readLines } from "../formats/table.ts";
import type { Utterance } from "../manifest.ts";
import { pythonShuffle } from "../python-shuffle.ts";
import { sampleHours } from "../subsets.ts";
import { filesBelow, firstOf, foldersIn, numberOption, type Reader, stem, withDurations } from "./reader.ts";

/** Utterances of all `.trans.txt` files below a folder; shared with Libri-light, which has the same form. */
export function readChapters(folder: string): Utterance[] {
  return filesBelow(folder, ".trans.txt").flatMap((file) =>
    [...readTranscripts(join(folder, file))].map(([id, text]): Utterance => {
      const audio = join(folder, dirname(file), `${id}.flac`);
      return { id, audio, speaker: id.split("-")[0], text };
    }),
  );
}

/** The gender of each speaker, from SPEAKERS.TXT ("14 | F | train-clean-360 | 25.03 | name"). */
export function readSpeakers(path: string): Map<string, string> {
  return new Map(
    readLines(path)
      .filter(({ text }) => !text.startsWith(";"))
      .map(({ text }) => text.split("|").map((cell) => cell.trim()))
      .map(([id, gender]) => [id, gender === "F" ? "female" : "male"]),
  );
}

/** The `train_dev_seed` of s3prl's speaker_linear_utter_libri. */
const s3prlSeed = 1337;

const partOf = (set: string) => (set.startsWith("dev") ? "valid" : set.startsWith("test") ? "test" : "train");

/** SHA-256 of the archives, as torchaudio checks them. */
const hashes = {
  "dev-clean": "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3",
  "dev-other": "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365",
  "test-clean": "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23",
  "test-other": "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29",
  "train-clean-100": "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2",
  "train-clean-360": "146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf",
  "train-other-500": "ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2",
};

/** LibriSpeech (openslr.org/12). */
export const librispeech: Reader = {
  title: "LibriSpeech: read English, 960 h",
  layout: "LibriSpeech/SPEAKERS.TXT and train-clean-100/19/198/19-198.trans.txt with 19-198-0000.flac",
  options: {
    sets: "sets to read, with commas: train-clean-100,dev-clean; default all that are there",
    list: "file of utterance ids to keep, one a line, such as CPC's train_split.txt (72 h, speaker identification)",
    testList: "file of utterance ids that form the test part, such as CPC's test_split.txt",
    validShare:
      "share of the list that becomes the validation part, drawn as s3prl draws it (Python's shuffle, seed 1337): 0.1 leaves the 72 h",
    hours:
      "random part of the training utterances of so many hours, with all speakers (10 for the 10 h of the papers)",
    seed: "seed of that part, default 0",
  },
  download: {
    url: "https://www.openslr.org/12",
    licence: "CC BY 4.0",
    archives: Object.fromEntries(
      Object.entries(hashes).map(([set, hash]) => [
        set,
        { url: `https://www.openslr.org/resources/12/${set}.tar.gz`, hash: `sha256:${hash}` },
      ]),
    ),
  },
  async read(folder, options) {
    const root = firstOf(folder, "LibriSpeech") ?? folder;
    const present = foldersIn(root).filter((set) => /^(train|dev|test)-/.test(set));
    const sets = options.sets?.split(",") ?? present;
    const missing = sets.find((set) => !present.includes(set));
    if (missing !== undefined)
      throw new UserError(`${root}: no set "${missing}"; there are ${present.join(", ")}`);
    const speakers = firstOf(root, "SPEAKERS.TXT");
    const genders = speakers === undefined ? undefined : readSpeakers(speakers);
    let utterances = sets.flatMap((set) =>
      readChapters(join(root, set)).map((utterance): Utterance => {
        const gender = genders?.get(utterance.speaker!);
        return { ...utterance, split: partOf(set), ...(gender !== undefined && { labels: { gender } }) };
      }),
    );
    const validShare = numberOption(options, "validShare");
    if (validShare !== undefined && (options.list === undefined || !(validShare > 0 && validShare < 1)))
      throw new UserError("the option validShare divides a list: it must be between 0 and 1, with list");
    if (options.list !== undefined || options.testList !== undefined) {
      const parts = partsOf(options.list, options.testList, validShare);
      utterances = utterances.flatMap((u) => {
        const split = parts.get(u.id);
        return split === undefined ? [] : [{ ...u, split }];
      });
    }
    const hours = numberOption(options, "hours");
    if (hours === undefined) return utterances;
    const timed = await withDurations(utterances);
    const train = timed.filter((u) => u.split === "train");
    const part = sampleHours(train, hours, numberOption(options, "seed") ?? 0, (u) => u.speaker);
    return [...part, ...timed.filter((u) => u.split !== "train")];
  },
};

/** The part of each listed utterance. */
function partsOf(
  list: string | undefined,
  testList: string | undefined,
  validShare: number | undefined,
): Map<string, string> {
  const ids = (path: string | undefined) =>
    path === undefined ? [] : readLines(path).map(({ text }) => text.trim());
  const listed = ids(list);
  const order = validShare === undefined ? listed : pythonShuffle(listed, s3prlSeed);
  const kept = Math.floor(order.length * (1 - (validShare ?? 0)));
  return new Map([
    ...order.map((id, i) => [stem(id), i < kept ? "train" : "valid"] as const),
    ...ids(testList).map((id) => [stem(id), "test"] as const),
  ]);
}

/** Libri-light's limited supervision (10 min, 1 h, 10 h of LibriSpeech). */
export const librilight: Reader = {
  title: "Libri-light limited supervision: 10 min, 1 h and 10 h of LibriSpeech",
  layout: "librispeech_finetuning/1h/0/clean/3526/175658/*.flac with *.trans.txt, and 9h/{clean,other}/...",
  options: {
    subset:
      "10min, 1h or 10h (default); 10 min is the first of the six parts of 1h, 10 h is 1h and 9h together",
  },
  download: {
    url: "https://github.com/facebookresearch/libri-light",
    licence: "CC BY 4.0",
    archives: {
      all: {
        url: "https://dl.fbaipublicfiles.com/librilight/data/librispeech_finetuning.tgz",
        hash: "sha256:5d1efdc777b548194d7e09ba89126e2188026df9fd57aa57eb14408d2b2342af",
      },
    },
  },
  read(folder, options) {
    const root = firstOf(folder, "librispeech_finetuning") ?? folder;
    const parts: Record<string, string[]> = { "10min": ["1h/0"], "1h": ["1h"], "10h": ["1h", "9h"] };
    const subset = options.subset ?? "10h";
    if (parts[subset] === undefined) {
      throw new UserError(
        `the option subset must be one of ${Object.keys(parts).join(", ")}, not "${subset}"`,
      );
    }
    return parts[subset].flatMap((part) =>
      readChapters(join(root, part)).map((utterance) => {
        const quality = basename(dirname(dirname(dirname(utterance.audio))));
        return { ...utterance, labels: { quality }, split: "train" };
      }),
    );
  },
};
