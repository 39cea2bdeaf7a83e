import { rmSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readTrials } from "../../../src/corpus/readers/voxceleb.ts";
import { folder, read, tree } from "./tree.ts";

test("VoxCeleb1: identification, verification, trials", async () => {
  const names = ["id10001/abc/00001", "id10001/abc/00002", "id10270/xyz/00001"];
  tree(
    {
      "iden_split.txt": ["1 id10001/abc/00001.wav", "3 id10001/abc/00002.wav", "2 id10270/xyz/00001.wav"],
      "veri_test.txt": [
        "1 id10270/xyz/00001.wav id10270/xyz/00002.wav",
        "0 id10270/xyz/00001.wav id10300/a/00001.wav",
      ],
      "vox1_meta.csv": [
        "VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet",
        "id10001\tA_B\tm\tIreland\tdev",
        "id10270\tC_D\tf\tUSA\ttest",
      ],
    },
    ...names.map((name) => `wav/${name}.wav`),
  );
  const identified = await read("voxceleb1");
  expect(identified.map((u) => u.split)).toEqual(["train", "test", "valid"]);
  expect(identified[0]).toMatchObject({
    id: "id10001-abc-00001",
    speaker: "id10001",
    labels: { speaker: "id10001", gender: "male", nationality: "Ireland" },
  });
  const verified = await read("voxceleb1", { task: "verification" });
  expect(verified.map((u) => u.split)).toEqual(["train", "train", "test"]);
  expect(readTrials(join(folder, "veri_test.txt"))).toEqual([
    { same: true, first: "id10270-xyz-00001", second: "id10270-xyz-00002" },
    { same: false, first: "id10270-xyz-00001", second: "id10300-a-00001" },
  ]);
});

test("IEMOCAP: four classes, sessions", async () => {
  const line = (id: string, emotion: string) =>
    `[6.2901 - 8.2357]\t${id}\t${emotion}\t[2.5000, 3.0000, 2.0000]`;
  for (const session of [1, 2]) {
    const dialog = `Ses0${session}F_impro01`;
    tree(
      {
        [`Session${session}/dialog/EmoEvaluation/${dialog}.txt`]: [
          "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]",
          "",
          line(`${dialog}_F000`, "exc"),
          "C-E2:\tNeutral;\t()",
          line(`${dialog}_M001`, "fru"),
        ],
        [`Session${session}/dialog/EmoEvaluation/Categorical/x.txt`]: ["not to be read"],
        [`Session${session}/dialog/transcriptions/${dialog}.txt`]: [
          `${dialog}_F000 [006.2901-008.2357]: Excuse me.`,
        ],
      },
      `Session${session}/sentences/wav/${dialog}/${dialog}_F000.wav`,
      `Session${session}/sentences/wav/${dialog}/${dialog}_M001.wav`,
    );
  }
  const four = await read("iemocap", { test: "1" });
  expect(four.map((u) => [u.id, u.split])).toEqual([
    ["Ses01F_impro01_F000", "test"],
    ["Ses02F_impro01_F000", "train"],
  ]);
  expect(four[0]).toMatchObject({
    audio: "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav",
    speaker: "Ses01F",
    text: "Excuse me.",
    labels: { emotion: "happy", session: 1, gender: "female", valence: 2.5, activation: 3, dominance: 2 },
  });
  const all = await read("iemocap", { classes: "all" });
  expect(all.map((u) => u.labels!.emotion)).toEqual(["exc", "fru", "exc", "fru"]);
  expect(all[1].speaker).toBe("Ses01M");
});

test("CREMA-D: file names, and EMO-SUPERB's partition", async () => {
  tree(
    {
      "VideoDemographics.csv": ["ActorID,Age,Sex,Race,Ethnicity", "1001,51,Male,Caucasian,Not Hispanic"],
      "partition.csv": [
        "FileName,angry,sad,disgust,fear,neutral,happy,SpkrID,Gender,Split_Set",
        "1001_DFA_ANG_XX.wav,0.198,0.104,0.01,0.01,0.668,0.01,1001,Male,Development",
      ],
    },
    "AudioWAV/1001_DFA_ANG_XX.wav",
    "AudioWAV/1001_IEO_SAD_HI.wav",
  );
  const plain = await read("crema-d");
  expect(plain[0]).toMatchObject({
    speaker: "1001",
    text: "Don't forget a jacket",
    labels: { emotion: "angry", level: "XX", gender: "male", age: 51 },
  });
  const rated = await read("crema-d", { partition: join(folder, "partition.csv") });
  expect(rated.length).toBe(1);
  expect(rated[0].split).toBe("valid");
  expect(rated[0].labels).toEqual({
    ...{ emotion: "neutral", intended: "angry", level: "XX", gender: "male", age: 51 },
    ...{ share_angry: 0.198, share_sad: 0.104, share_disgust: 0.01 },
    ...{ share_fear: 0.01, share_neutral: 0.668, share_happy: 0.01 },
  });
  tree({ "other.csv": ["FileName,angry,Split_Set", "1001_DFA_ANG_XX.wav,1,Train"] });
  await expect(read("crema-d", { partition: join(folder, "other.csv") })).rejects.toThrow(/disgust/);
});

test("digits and emotions by file name", async () => {
  tree({}, "recordings/7_george_3.wav", "recordings/0_theo_12.wav");
  expect((await read("fsdd")).map((u) => [u.speaker, u.text, u.labels!.digit, u.split])).toEqual([
    ["theo", "zero", "0", "train"],
    ["george", "seven", "7", "test"],
  ]);
  rmSync(join(folder, "recordings"), { recursive: true });
  tree(
    { "data/audioMNIST_meta.txt": JSON.stringify({ "01": { accent: "german", age: 30, gender: "male" } }) },
    "data/01/4_01_17.wav",
  );
  expect((await read("audiomnist"))[0]).toMatchObject({
    speaker: "01",
    text: "four",
    labels: { digit: "4", gender: "male", accent: "german", age: "30" },
  });
  rmSync(join(folder, "data"), { recursive: true });
  tree({}, "Actor_12/03-01-05-02-02-01-12.wav", "Actor_12/03-02-05-02-02-01-12.wav");
  expect(await read("ravdess")).toEqual([
    {
      id: "03-01-05-02-02-01-12",
      audio: "Actor_12/03-01-05-02-02-01-12.wav",
      speaker: "Actor_12",
      text: "Dogs are sitting by the door",
      labels: { emotion: "angry", intensity: "strong", repetition: 1, gender: "female" },
    },
  ]);
  rmSync(join(folder, "Actor_12"), { recursive: true });
  tree({}, "wav/03a01Fa.wav", "wav/08b10Wb.wav");
  expect((await read("emodb")).map((u) => [u.speaker, u.labels, u.text?.slice(0, 10)])).toEqual([
    ["03", { emotion: "happiness", gender: "male" }, "Der Lappen"],
    ["08", { emotion: "anger", gender: "female" }, "Die wird a"],
  ]);
});
