import { expect, test } from "vitest";
import { read, tree } from "./tree.ts";

test("TIMIT: parts, shared sentences, folding", async () => {
  const utterance = (path: string, ...phones: string[]) =>
    tree({ [`${path}.PHN`]: phones, [`${path}.WRD`]: ["2260 9680 she"] }, `${path}.WAV`);
  utterance("TRAIN/DR1/FCJF0/SA1", "0 2260 h#");
  utterance(
    "TRAIN/DR1/FCJF0/SX127",
    "0 2260 h#",
    "2260 4149 sh",
    "4149 5640 ix",
    "5640 8000 q",
    "8000 9680 tcl",
  );
  utterance("TEST/DR1/MDAB0/SX139", "0 100 h#");
  utterance("TEST/DR1/FAKS0/SX133", "0 100 h#");
  utterance("TEST/DR1/FZZZ0/SX1", "0 100 h#");
  const core = await read("timit", { phones: "39" });
  expect(core.map((u) => [u.id, u.split])).toEqual([
    ["faks0-sx133", "valid"],
    ["mdab0-sx139", "test"],
    ["fcjf0-sx127", "train"],
  ]);
  expect(core[2]).toEqual({
    id: "fcjf0-sx127",
    audio: "TRAIN/DR1/FCJF0/SX127.WAV",
    speaker: "fcjf0",
    text: "she",
    phones: [
      { phone: "sil", start: 0, end: 2260 / 16000 },
      { phone: "sh", start: 2260 / 16000, end: 4149 / 16000 },
      { phone: "ih", start: 4149 / 16000, end: 5640 / 16000 },
      { phone: "sil", start: 0.5, end: 9680 / 16000 },
    ],
    words: [{ word: "she", start: 2260 / 16000, end: 9680 / 16000 }],
    labels: { dialect: "dr1", gender: "female" },
    split: "train",
  });
  const full = await read("timit", { test: "full", sa: "yes" });
  expect(full.map((u) => u.split)).toEqual(["test", "test", "test", "train", "train"]);
  expect(full.at(-1)!.phones).toContainEqual({ phone: "q", start: 5640 / 16000, end: 0.5 });
});

test("TED-LIUM: segments, unknown words, hours", async () => {
  tree(
    {
      "legacy/train/stm/A_2009.stm": [
        "A_2009 1 A 10.0 20.0 <o,f0,male> it 's a test <unk>",
        "A_2009 1 A 20.0 24.5 <o,f0,male> that 's all",
        "A_2009 1 inter_segment_gap 24.5 30 <o,,unknown> ignore_time_segment_in_scoring",
      ],
      "legacy/dev/stm/B_2010.stm": ["B_2010 1 B 0 5 <o,f0,female> hello"],
    },
    "legacy/train/sph/A_2009.sph",
    "legacy/dev/sph/B_2010.sph",
  );
  expect(await read("tedlium", { unk: "drop" })).toEqual([
    {
      id: "A_2009-0001",
      audio: "legacy/train/sph/A_2009.sph",
      start: 20,
      end: 24.5,
      duration: 4.5,
      speaker: "A",
      text: "that's all",
      split: "train",
    },
    expect.objectContaining({ id: "B_2010-0000", split: "valid" }),
  ]);
  expect((await read("tedlium")).length).toBe(3);
  expect((await read("tedlium", { hours: String(4 / 3600) })).filter((u) => u.split === "train").length).toBe(
    1,
  );
});

test("AISHELL-3: characters, pinyin, speakers", async () => {
  tree(
    {
      "spk-info.txt": ["# 1. Age group", "SSB0005\tB\tfemale\tnorth"],
      "train/content.txt": ["SSB00050001.wav\t广 guang3 州 zhou1 女 nv3"],
    },
    "train/wav/SSB0005/SSB00050001.wav",
  );
  expect(await read("aishell3")).toEqual([
    {
      id: "SSB00050001",
      audio: "train/wav/SSB0005/SSB00050001.wav",
      speaker: "SSB0005",
      text: "广州女",
      phones: ["guang3", "zhou1", "nv3"],
      labels: { age: "B", gender: "female", accent: "north" },
      split: "train",
    },
  ]);
});

test("speechocean762: Kaldi folders and scores", async () => {
  const data = (split: string, id: string, speaker: string) =>
    tree(
      {
        [`${split}/wav.scp`]: [`${id}\tWAVE/SPEAKER${speaker}/${id}.WAV`],
        [`${split}/text`]: [`${id}\tWE CALL`],
        [`${split}/utt2spk`]: [`${id}\t${speaker}`],
        [`${split}/spk2gender`]: [`${speaker}\tm`],
        [`${split}/spk2age`]: [`${speaker}\t6`],
      },
      `WAVE/SPEAKER${speaker}/${id}.WAV`,
    );
  data("train", "000010011", "0001");
  data("test", "000030012", "0003");
  const words = [
    { accuracy: 10, text: "WE", phones: ["W", "IY0"] },
    { accuracy: 9, text: "CALL", phones: "K AO0 L" },
  ];
  const scores = { accuracy: 8, completeness: 10, fluency: 9, prosodic: 9, total: 8, text: "WE CALL", words };
  tree({ "resource/scores.json": JSON.stringify({ "000010011": scores }) });
  const [first, second] = await read("speechocean762");
  expect(first).toEqual({
    id: "000010011",
    audio: "WAVE/SPEAKER0001/000010011.WAV",
    speaker: "0001",
    text: "WE CALL",
    words: [
      ["we", ["W", "IY0"]],
      ["call", ["K", "AO0", "L"]],
    ],
    phones: ["W", "IY", "K", "AO", "L"],
    labels: { gender: "m", age: 6, accuracy: 8, completeness: 10, fluency: 9, prosodic: 9, total: 8 },
    split: "train",
  });
  expect(second).toMatchObject({ split: "test", labels: { gender: "m", age: 6 } });
});
