import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { pythonShuffle } from "../../../src/corpus/python-shuffle.ts";
import { folder, read, tree } from "./tree.ts";

describe("LibriSpeech", () => {
  const chapters = () =>
    tree(
      {
        "LibriSpeech/SPEAKERS.TXT": [
          ";ID |SEX| SUBSET",
          "19 | F | train-clean-100 | 25.19 | A",
          "84 | M | dev-clean | 8 | B",
        ],
        "LibriSpeech/train-clean-100/19/198/19-198.trans.txt": [
          "19-198-0000 NORTHANGER ABBEY",
          "19-198-0001 THIS LITTLE WORK",
        ],
        "LibriSpeech/train-clean-100/26/495/26-495.trans.txt": ["26-495-0000 SINCE THEN"],
        "LibriSpeech/dev-clean/84/121/84-121.trans.txt": ["84-121-0000 GO"],
      },
      "LibriSpeech/train-clean-100/19/198/19-198-0000.flac",
      "LibriSpeech/train-clean-100/19/198/19-198-0001.flac",
      "LibriSpeech/train-clean-100/26/495/26-495-0000.flac",
      "LibriSpeech/dev-clean/84/121/84-121-0000.flac",
    );

  test("sets, speakers, parts", async () => {
    chapters();
    const all = await read("librispeech");
    expect(all.map((u) => [u.id, u.split])).toEqual([
      ["84-121-0000", "valid"],
      ["19-198-0000", "train"],
      ["19-198-0001", "train"],
      ["26-495-0000", "train"],
    ]);
    expect(all[1]).toEqual({
      id: "19-198-0000",
      audio: "LibriSpeech/train-clean-100/19/198/19-198-0000.flac",
      speaker: "19",
      text: "NORTHANGER ABBEY",
      split: "train",
      labels: { gender: "female" },
    });
    expect((await read("librispeech", { sets: "train-clean-100" })).length).toBe(3);
    await expect(read("librispeech", { sets: "train-clean-900" })).rejects.toThrow(
      /no set "train-clean-900"; there are/,
    );
  });

  test("lists of ids, and hours with all speakers kept", async () => {
    chapters();
    tree({ "train.txt": ["19-198-0001"], "test.txt": ["26-495-0000"] });
    const listed = await read("librispeech", {
      list: join(folder, "train.txt"),
      testList: join(folder, "test.txt"),
    });
    expect(listed.map((u) => [u.id, u.split])).toEqual([
      ["19-198-0001", "train"],
      ["26-495-0000", "test"],
    ]);
    // s3prl's division of the list: Python shuffles 19-198-0000, 19-198-0001, 26-495-0000 with its seed.
    tree({ "all.txt": ["19-198-0000", "19-198-0001", "26-495-0000"] });
    const divided = await read("librispeech", { list: join(folder, "all.txt"), validShare: "0.34" });
    const shuffled = pythonShuffle(["19-198-0000", "19-198-0001", "26-495-0000"], 1337);
    expect(divided.filter((u) => u.split === "train").map((u) => u.id)).toEqual([shuffled[0]]);
    expect(divided.filter((u) => u.split === "valid")).toHaveLength(2);
    await expect(read("librispeech", { validShare: "0.1" })).rejects.toThrow(/validShare divides a list/);
    // Three training utterances of 0.1 s: two reach 0.2 s, one of each speaker.
    const hours = String(0.2 / 3600);
    const part = await read("librispeech", { hours, sets: "train-clean-100" });
    expect(part.map((u) => u.speaker)).toEqual(["19", "26"]);
    await expect(read("librispeech", { hours: "1" })).rejects.toThrow(
      /1 hours were asked for, but there are only/,
    );
  });

  test("Libri-light's parts", async () => {
    const chapter = (part: string, speaker: string) => {
      const base = `librispeech_finetuning/${part}/${speaker}/1/${speaker}-1`;
      tree({ [`${base}.trans.txt`]: [`${speaker}-1-0000 HELLO`] }, `${base}-0000.flac`);
    };
    chapter("1h/0/clean", "10");
    chapter("1h/1/other", "11");
    chapter("9h/clean", "12");
    const speakers = async (subset: string) => (await read("librilight", { subset })).map((u) => u.speaker);
    expect(await speakers("10min")).toEqual(["10"]);
    expect(await speakers("1h")).toEqual(["10", "11"]);
    expect(await speakers("10h")).toEqual(["10", "11", "12"]);
    expect((await read("librilight"))[1].labels).toEqual({ quality: "other" });
  });
});

test("Python's shuffle, as Python does it", () => {
  // random.seed(1337); a = list(range(12)); random.shuffle(a) in CPython 3.11, and of 2000 with the seed 7.
  const numbers = (count: number) => Array.from({ length: count }, (_, i) => i);
  expect(pythonShuffle(numbers(12), 1337)).toEqual([6, 0, 1, 4, 10, 7, 3, 11, 2, 5, 8, 9]);
  expect(pythonShuffle(numbers(2000), 7).slice(0, 8)).toEqual([161, 562, 1877, 1034, 1575, 48, 655, 1873]);
});
