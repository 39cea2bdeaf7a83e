import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { readers } from "../../../src/corpus/readers/index.ts";
import { readCorpus } from "../../../src/corpus/readers/reader.ts";
import { folder, read, sound, tree } from "./tree.ts";

test("Speech Commands: all words, or twelve classes with silence and the official test set", async () => {
  tree(
    {
      "validation_list.txt": ["yes/b_nohash_0.wav"],
      "testing_list.txt": ["bed/c_nohash_0.wav"],
      "_background_noise_/hum.wav": sound(2.5),
      "_background_noise_/wind.wav": sound(1),
    },
    "yes/a_nohash_0.wav",
    "yes/b_nohash_0.wav",
    "bed/c_nohash_0.wav",
    "official/_silence_/0.wav",
    "official/yes/d_nohash_1.wav",
    "official/_unknown_/e_nohash_0.wav",
  );
  rmSync(join(folder, "official"), { recursive: true });
  const all = await read("speech-commands");
  expect(all.map((u) => [u.id, u.split, u.labels!.keyword, u.speaker])).toEqual([
    ["test-bed-c_nohash_0", "test", "bed", "c"],
    ["yes-a_nohash_0", "train", "yes", "a"],
    ["yes-b_nohash_0", "valid", "yes", "b"],
  ]);
  const other = mkdtempSync(join(tmpdir(), "voxsmith-official-"));
  for (const path of ["_silence_/0.wav", "yes/d_nohash_1.wav", "_unknown_/e_nohash_0.wav"]) {
    mkdirSync(dirname(join(other, path)), { recursive: true });
    writeFileSync(join(other, path), sound(0.1));
  }
  const twelve = await readCorpus("speech-commands", readers, folder, { classes: "12", testSet: other });
  expect(twelve.map((u) => [u.split, u.labels!.keyword, u.start])).toEqual([
    ["train", "yes", undefined],
    ["valid", "yes", undefined],
    ["train", "silence", 0],
    ["train", "silence", 1],
    ["valid", "silence", 0],
    ["test", "silence", undefined],
    ["test", "unknown", undefined],
    ["test", "yes", undefined],
  ]);
  rmSync(other, { recursive: true });
});

test("Fluent Speech Commands and Audio SNIPS", async () => {
  const header = ",path,speakerId,transcription,action,object,location";
  const row = '0,wavs/speakers/s1/a.wav,s1,"Turn on, please",activate,lights,none';
  tree(
    {
      "data/train_data.csv": [header, row],
      "data/valid_data.csv": [header],
      "data/test_data.csv": [header],
    },
    "wavs/speakers/s1/a.wav",
  );
  expect(await read("fluent-speech-commands")).toEqual([
    {
      id: "s1-a",
      audio: "wavs/speakers/s1/a.wav",
      speaker: "s1",
      text: "Turn on, please",
      labels: { action: "activate", object: "lights", location: "none", intent: "activate lights none" },
      split: "train",
    },
  ]);
  tree(
    {
      "SNIPS/all.iob.snips.txt": [
        "snips-train-0 BOS add big sun to my list EOS\tO O B-entity I-entity O B-owner O AddToPlaylist",
      ],
    },
    "SNIPS/train/Ivy-snips-train-0.wav",
    "SNIPS/train/Joey-snips-train-0.wav",
  );
  expect(await read("audio-snips", { speakers: "Ivy" })).toEqual([
    {
      id: "Ivy-snips-train-0",
      audio: "SNIPS/train/Ivy-snips-train-0.wav",
      speaker: "Ivy",
      text: "add big sun to my list",
      slots: { entity: "big sun", owner: "my" },
      labels: {
        intent: "AddToPlaylist",
        tagged: "ADD B-entity BIG SUN E-entity TO B-owner MY E-owner LIST",
      },
      split: "train",
    },
  ]);
});

test("QUESST 2014 and Libri2Mix", async () => {
  tree(
    {
      "quesst14Database/language_key_utterances.lst": [
        "Audio/quesst14_00001.wav nnenglish",
        "Audio/quesst14_00002.wav basque",
      ],
      "quesst14Database/language_key_dev.lst": ["dev_queries/quesst14_dev_0001.wav nnenglish"],
    },
    "quesst14Database/Audio/quesst14_00001.wav",
    "quesst14Database/Audio/quesst14_00002.wav",
    "quesst14Database/dev_queries/quesst14_dev_0001.wav",
    "quesst14Database/eval_queries/quesst14_eval_0001.wav",
  );
  expect((await read("quesst14", { language: "nnenglish" })).map((u) => [u.id, u.labels, u.split])).toEqual([
    ["Audio-quesst14_00001", { role: "document", language: "nnenglish" }, "test"],
    ["dev_queries-quesst14_dev_0001", { role: "query", language: "nnenglish" }, "valid"],
  ]);
  const id = "4077-13754-0001_5142-33396-0065";
  tree(
    { "rttm/test.rttm": [`SPEAKER ${id} 1 0.5 2.0 <NA> <NA> 4077 <NA> <NA>`] },
    `Libri2Mix/wav16k/max/test/mix_both/${id}.wav`,
    `Libri2Mix/wav16k/max/test/s1/${id}.wav`,
  );
  expect(await read("libri2mix", { rttm: join(folder, "rttm") })).toEqual([
    {
      id,
      audio: `Libri2Mix/wav16k/max/test/mix_both/${id}.wav`,
      turns: [{ speaker: "4077", start: 0.5, end: 2.5 }],
      labels: { speaker1: "4077", speaker2: "5142", part: "test" },
      split: "test",
    },
  ]);
});
