import { existsSync } from "node:fs";
import { join } from "node:path";
import { readStm } from "../formats/nist.ts";
import type { Utterance } from "../manifest.ts";
import { sampleHours } from "../subsets.ts";
import { choiceOption, filesBelow, firstOf, need, numberOption, type Reader } from "./reader.ts";

const layout =
  "TEDLIUM_release-3/legacy/{train,dev,test} (release 1 and 2: without legacy) with stm/*.stm and sph/*.sph";

/** TED-LIUM, all releases. */
export const tedlium: Reader = {
  title: "TED-LIUM: talks in English",
  layout,
  options: {
    hours: "random part of the training segments of so many hours; 100 for that of Speech-FT",
    unk: "keep (default) or drop segments with <unk>; drop belongs to the 100 h",
    seed: "seed of the random part, default 0",
  },
  download: {
    url: "https://www.openslr.org/51",
    licence: "CC BY-NC-ND 3.0",
    archives: {
      release3: {
        url: "https://www.openslr.org/resources/51/TEDLIUM_release-3.tgz",
        hash: "sha256:ad1e454d14d1ad550bc2564c462d87c7a7ec83d4dc2b9210f22ab4973b9eccdb",
      },
    },
  },
  read(folder, options) {
    const root =
      firstOf(folder, "legacy", "TEDLIUM_release-3/legacy", "TEDLIUM_release2", "TEDLIUM_release1") ?? folder;
    const dropUnknown = choiceOption(options, "unk", ["keep", "drop"]) === "drop";
    const parts = ["train", "dev", "test"].filter((part) => existsSync(join(root, part)));
    if (parts.length === 0) need(root, "train", layout);
    const utterances = parts.flatMap((part) =>
      filesBelow(join(root, part, "stm"), ".stm").flatMap((file) =>
        readStm(join(root, part, "stm", file)).flatMap((segment, i): Utterance[] => {
          const { recording, speaker, start, end, text } = segment;
          if (text === "ignore_time_segment_in_scoring" || (dropUnknown && text.includes("<unk>"))) return [];
          const audio = firstOf(
            join(root, part, "sph"),
            `${recording}.sph`,
            `${recording}.wav`,
            `${recording}.flac`,
          );
          return [
            {
              id: `${recording}-${String(i).padStart(4, "0")}`,
              audio: audio ?? join(root, part, "sph", `${recording}.sph`),
              start,
              end,
              duration: end - start,
              speaker,
              // "it 's" is one word in the papers' transcripts.
              text: text.replaceAll(/\s+'/g, "'"),
              split: part === "dev" ? "valid" : part,
            },
          ];
        }),
      ),
    );
    const hours = numberOption(options, "hours");
    if (hours === undefined) return utterances;
    const train = utterances.filter((u) => u.split === "train");
    const part = sampleHours(train, hours, numberOption(options, "seed") ?? 0);
    return [...part, ...utterances.filter((u) => u.split !== "train")];
  },
};
