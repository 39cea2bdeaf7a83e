import { join } from "node:path";
import { UserError } from "../../errors.ts";
import { readTable, requireColumns } from "../formats/table.ts";
import type { Utterance } from "../manifest.ts";
import { firstOf, needFiles, type Reader, stem } from "./reader.ts";

const layout = "AudioWAV/1001_DFA_ANG_XX.wav and VideoDemographics.csv";

const emotions: Record<string, string> = {
  ANG: "angry",
  DIS: "disgust",
  FEA: "fear",
  HAP: "happy",
  NEU: "neutral",
  SAD: "sad",
};

/** The twelve sentences. */
const sentences: Record<string, string> = {
  IEO: "It's eleven o'clock",
  TIE: "That is exactly what happened",
  IOM: "I'm on my way to the meeting",
  IWW: "I wonder what this is about",
  TAI: "The airplane is almost full",
  MTI: "Maybe tomorrow it will be cold",
  IWL: "I would like a new alarm clock",
  ITH: "I think I have a doctor's appointment",
  DFA: "Don't forget a jacket",
  ITS: "I think I've seen this before",
  TSI: "The surface is slick",
  WSI: "We'll stop in a couple of minutes",
};

/** CREMA-D. */
export const cremaD: Reader = {
  title: "CREMA-D: 91 actors, twelve sentences, six emotions",
  layout,
  options: {
    partition:
      "EMO-SUPERB's table of one fold, CREMA-D/Primary/labels_consensus_1.csv to _5.csv: FileName, Split_Set (Train, " +
      "Development, Test) and a column per emotion with its smoothed share of the raters; the shares become labels " +
      "and the largest the emotion",
  },
  download: { url: "https://github.com/CheyneyComputerScience/CREMA-D", licence: "ODbL 1.0" },
  read(folder, options) {
    const demographics = firstOf(folder, "VideoDemographics.csv");
    const actors = new Map(
      demographics === undefined
        ? []
        : readTable(demographics).rows.map(({ cells }) => [cells.ActorID, cells] as const),
    );
    const partition = options.partition === undefined ? undefined : readPartition(options.partition);
    const root = join(folder, "AudioWAV");
    return needFiles(root, layout, ".wav").flatMap((file): Utterance[] => {
      const id = stem(file);
      const [speaker, sentence, emotion, level] = id.split("_");
      const rated = partition?.get(id);
      if (emotions[emotion] === undefined || (partition !== undefined && rated === undefined)) return [];
      const actor = actors.get(speaker);
      const person: Record<string, string | number> =
        actor === undefined ? {} : { gender: actor.Sex.toLowerCase(), age: Number(actor.Age) };
      return [
        {
          id,
          audio: join(root, file),
          speaker,
          ...(sentences[sentence] !== undefined && { text: sentences[sentence] }),
          labels: {
            emotion: emotions[emotion],
            intended: emotions[emotion],
            level,
            ...person,
            ...rated?.labels,
          },
          ...(rated !== undefined && { split: rated.split }),
        },
      ];
    });
  },
};

function readPartition(path: string) {
  const table = readTable(path);
  const names = Object.values(emotions);
  requireColumns(table, ["FileName", "Split_Set", ...names]);
  const parts: Record<string, string> = { train: "train", development: "valid", dev: "valid", test: "test" };
  return new Map(
    table.rows.map(({ cells }) => {
      // The other columns (SpkrID, Gender) are no emotions.
      const shares = names.map((name) => [name, Number(cells[name])] as const);
      const split = parts[cells.Split_Set.toLowerCase()];
      if (split === undefined || shares.some(([, share]) => !Number.isFinite(share)))
        throw new UserError(`${path}: ${cells.FileName} has a part or a share that is none`);
      const [emotion] = shares.reduce((best, share) => (share[1] > best[1] ? share : best));
      const labels: Record<string, string | number> = {
        ...Object.fromEntries(shares.map(([name, share]) => [`share_${name}`, share])),
        emotion,
      };
      return [stem(cells.FileName), { labels, split }] as const;
    }),
  );
}
