import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { encodeWav } from "../../src/audio/decode.ts";
import { readManifest, type Utterance, writeManifest } from "../../src/corpus/manifest.ts";
import { readers } from "../../src/corpus/readers/index.ts";
import { type ReaderOptions, readCorpus } from "../../src/corpus/readers/reader.ts";
import { readTrials } from "../../src/corpus/readers/voxceleb.ts";
import { UserError } from "../../src/errors.ts";

// Each corpus as its documentation lays it out, in miniature; nothing of the corpora themselves.

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "voxsmith-readers-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const sound = (seconds: number) => encodeWav(new Float32Array(Math.round(16000 * seconds)), 16000);

/** Writes files; those without content are sound files. */
function tree(files: Record<string, string | string[] | Uint8Array>, ...sounds: string[]): void {
  for (const [path, content] of [
    ...Object.entries(files),
    ...sounds.map((path) => [path, sound(0.1)] as const),
  ]) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), Array.isArray(content) ? `${content.join("\n")}\n` : content);
  }
}

/** Reads, checks that the result is a manifest that can be written and read, and shortens the paths. */
async function read(name: string, options: ReaderOptions = {}): Promise<Utterance[]> {
  const utterances = await readCorpus(name, readers, folder, options);
  const manifest = join(folder, "made", "manifest.jsonl");
  writeManifest(manifest, utterances);
  expect(readManifest(manifest)).toEqual(utterances);
  rmSync(dirname(manifest), { recursive: true });
  return utterances.map((u) => ({ ...u, audio: u.audio.slice(folder.length + 1) }));
}

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

describe("Common Voice and CoVoST 2", () => {
  const header = "client_id\tpath\tsentence\tup_votes\tage\tgender";

  test("tables, and quotation marks that are no quotes", async () => {
    tree(
      {
        "train.tsv": [header, 'c1\tcommon_voice_tr_1.mp3\t"Merhaba" dedi.\t2\ttwenties\tfemale'],
        "dev.tsv": [header, "c2\tcommon_voice_tr_2\tEvet.\t2\t\t"],
        "test.tsv": [header],
      },
      "clips/common_voice_tr_1.mp3",
      "clips/common_voice_tr_2.mp3",
    );
    expect(await read("common-voice")).toEqual([
      {
        id: "common_voice_tr_1",
        audio: "clips/common_voice_tr_1.mp3",
        speaker: "c1",
        text: '"Merhaba" dedi.',
        labels: { gender: "female", age: "twenties" },
        split: "train",
      },
      {
        id: "common_voice_tr_2",
        audio: "clips/common_voice_tr_2.mp3",
        speaker: "c2",
        text: "Evet.",
        split: "valid",
      },
    ]);
  });

  test("1 h phoneme splits", async () => {
    tree(
      {
        "validated.tsv": [
          header,
          "c1\tx_1.mp3\tBir.\t2\t\t",
          "c2\tx_2.mp3\tIki.\t2\t\t",
          "c3\tx_3.mp3\tUc.\t2\t\t",
        ],
        "splits/trainSeqs_1.0_uniform_new_version.txt": ["x_1"],
        "splits/valSeqs_1.0_uniform_new_version.txt": ["x_2"],
        "splits/testSeqs_uniform_new_version.txt": ["x_3"],
        "splits/phones_reduced.txt": ["x_1 b i r", "x_2 i k i", "x_3 u tS"],
      },
      "clips/x_1.mp3",
      "clips/x_2.mp3",
      "clips/x_3.mp3",
    );
    const utterances = await read("common-voice", { phoneSplits: join(folder, "splits") });
    expect(utterances.map((u) => [u.split, u.speaker, u.phones])).toEqual([
      ["train", "c1", ["b", "i", "r"]],
      ["valid", "c2", ["i", "k", "i"]],
      ["test", "c3", ["u", "tS"]],
    ]);
  });

  test("translations, in one table or three", async () => {
    const columns = "path\tsentence\ttranslation\tclient_id";
    tree(
      { "covost_v2.en_de.tsv": [`${columns}\tsplit`, "a.mp3\tGood day\tGuten Tag\tc1\tdev"] },
      "clips/a.mp3",
    );
    const one = await read("covost");
    expect(one[0]).toMatchObject({ id: "a", text: "Good day", translation: "Guten Tag", split: "valid" });
    tree({ "covost_v2.en_de.train.tsv": [columns, "a.mp3\tGood day\tGuten Tag\tc1"] });
    expect((await read("covost"))[0].split).toBe("train");
  });
});

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
        "FileName,Angry,Sad,Neutral,Split_Set",
        "1001_DFA_ANG_XX.wav,0.2,0.1,0.7,Development",
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
  expect(rated[0]).toMatchObject({
    split: "valid",
    labels: { emotion: "neutral", intended: "angry", share_angry: 0.2, share_neutral: 0.7 },
  });
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

describe("dysarthric speech", () => {
  test("QoLT's table", async () => {
    const header = "path,phones,speaker,gender,severity,session";
    tree({ "qolt.csv": [header, "wav/a.wav,k a ng,s01,female,3,1"] }, "wav/a.wav");
    expect(await read("qolt")).toEqual([
      {
        id: "a",
        audio: "wav/a.wav",
        speaker: "s01",
        phones: ["k", "a", "ng"],
        labels: { gender: "female", severity: 3, session: 1 },
      },
    ]);
    tree({ "qolt.csv": [header, "wav/a.wav,k a ng,s01,female,5,1"] });
    await expect(read("qolt")).rejects.toThrow(/qolt\.csv:2: severity must be 0, 1, 2, 3 or 4, not "5"/);
    tree({ "qolt.csv": ["path,phones"] });
    await expect(read("qolt")).rejects.toThrow(/no column "speaker"/);
  });

  test("TORGO: prompts that were read, severity by speaker", async () => {
    tree(
      {
        "F01/Session1/prompts/0001.txt": "stick",
        "F01/Session1/prompts/0002.txt": "input/images/p1.jpg",
        "F01/Session1/prompts/0003.txt": "[say Ah-P-Eee repeatedly]",
        "MC01/Session2/prompts/0004.txt": "Except in the winter [pause]",
      },
      ...["0001", "0002", "0003"].map((n) => `F01/Session1/wav_headMic/${n}.wav`),
      "F01/Session1/wav_arrayMic/0001.wav",
      "MC01/Session2/wav_headMic/0004.wav",
    );
    const head = await read("torgo");
    expect(head.map((u) => [u.id, u.text, u.labels!.severity])).toEqual([
      ["F01-Session1-head-0001", "stick", "severe"],
      ["MC01-Session2-head-0004", "Except in the winter", "none"],
    ]);
    expect((await read("torgo", { microphone: "both" })).length).toBe(3);
    expect(head[1].labels).toMatchObject({ dysarthria: "no", gender: "male" });
  });

  test("UASpeech: words, blocks, intelligibility", async () => {
    tree(
      { "mlf/M04/M04_word.mlf": ["#!MLF!#", '"*/M04_B1_C1_M5.lab"', "COMMAND", "."] },
      "audio/M04/M04_B1_C1_M5.wav",
      "audio/M04/M04_B1_C1_M6.wav",
      "audio/M04/M04_B2_UW3_M5.wav",
      "audio/control/CF02/CF02_B3_D1_M5.wav",
    );
    const utterances = await read("uaspeech");
    expect(utterances.map((u) => [u.id, u.split, u.labels!.severity, u.labels!.word])).toEqual([
      ["M04_B1_C1_M5", "train", "very low", "C1"],
      ["M04_B2_UW3_M5", "test", "very low", "B2_UW3"],
      ["CF02_B3_D1_M5", "train", "none", "D1"],
    ]);
    expect(utterances[0]).toMatchObject({ text: "COMMAND", labels: { intelligibility: 2, gender: "male" } });
    expect((await read("uaspeech", { controls: "no", microphone: "all" })).length).toBe(3);
  });
});

describe("music", () => {
  test("Medley-solos-DB and OpenMIC-2018", async () => {
    const id = "Medley-solos-DB_training-3_0a-b";
    tree(
      {
        "Medley-solos-DB_metadata.csv": [
          "subset,instrument,instrument_id,song_id,uuid4",
          "training,flute,3,17,0a-b",
        ],
      },
      `${id}.wav`,
    );
    expect(await read("medley-solos-db")).toEqual([
      { id, audio: `${id}.wav`, speaker: "song17", labels: { instrument: "flute" }, split: "train" },
    ]);
    tree(
      {
        "openmic-2018/openmic-2018-aggregated-labels.csv": [
          "sample_key,instrument,relevance,num_responses",
          "000046_3840,clarinet,0.17105,3",
          "000046_3840,flute,0,3",
        ],
        "openmic-2018/partitions/split01_train.csv": ["000046_3840"],
        "openmic-2018/partitions/split01_test.csv": [],
      },
      "openmic-2018/audio/000/000046_3840.ogg",
    );
    expect(await read("openmic-2018")).toEqual([
      {
        id: "000046_3840",
        audio: "openmic-2018/audio/000/000046_3840.ogg",
        labels: { clarinet: 0.17105, flute: 0 },
        split: "train",
      },
    ]);
  });

  test("AudioSet: descendants of a class only", async () => {
    tree(
      {
        "ontology.json": JSON.stringify([
          { id: "/m/04szw", name: "Musical instrument", child_ids: ["/m/0342h"] },
          { id: "/m/0342h", name: "Guitar", child_ids: [] },
          { id: "/m/0bt9lr", name: "Dog", child_ids: [] },
        ]),
        "balanced_train_segments.csv": [
          "# Segments csv created",
          '--4gqARaEJE, 0.000, 10.000, "/m/0342h,/m/0bt9lr"',
          'abc, 5.000, 15.000, "/m/0bt9lr"',
        ],
        "eval_segments.csv": ['xyz, 30.000, 40.000, "/m/0342h"'],
      },
      "clips/--4gqARaEJE.wav",
      "clips/abc.wav",
      "clips/xyz_30.wav",
    );
    expect(await read("audioset")).toEqual([
      {
        id: "--4gqARaEJE",
        audio: "clips/--4gqARaEJE.wav",
        duration: 10,
        split: "train",
        labels: { Guitar: 1 },
      },
      { id: "xyz", audio: "clips/xyz_30.wav", duration: 10, split: "test", labels: { Guitar: 1 } },
    ]);
  });
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

describe("tables and lists", () => {
  test("CSV with other names of columns, quotes, and labels", async () => {
    tree(
      {
        "list.csv": [
          "file_path,length,label,start,end,transcript,dev set",
          'x/a.wav,16000,007,0.5,1,"one, two",1',
          "y/a.wav,8000,3,,,three,",
        ],
      },
      "x/a.wav",
      "y/a.wav",
    );
    expect(await read("csv")).toEqual([
      {
        id: "a",
        audio: "x/a.wav",
        start: 0.5,
        end: 1,
        text: "one, two",
        labels: { length: 16000, label: "007", "dev set": 1 },
      },
      { id: "a-1", audio: "y/a.wav", text: "three", labels: { length: 8000, label: 3 } },
    ]);
    tree({ "list.csv": ["path,text", "a.wav"] });
    await expect(read("csv")).rejects.toThrow(/list\.csv:2: expected 2 cells \(path, text\), not 1/);
    tree({ "list.csv": ["pathh,text", "a.wav,b"] });
    await expect(read("csv")).rejects.toThrow(/no column of sound files/);
    tree({ "second.csv": ["path"] });
    await expect(read("csv")).rejects.toThrow(/2 tables \(list.csv, second.csv\); name one/);
  });

  test("Kaldi with segments and commands, and fairseq", async () => {
    tree(
      {
        "wav.scp": ["rec1 sph2pipe -f wav -p -c 1 audio/rec1.sph |"],
        segments: ["utt1 rec1 0.5 2.5"],
        text: ["utt1 hello there"],
        utt2spk: ["utt1 spk1"],
        spk2gender: ["spk1 f"],
      },
      "audio/rec1.sph",
    );
    expect(await read("kaldi")).toEqual([
      {
        id: "utt1",
        audio: "audio/rec1.sph",
        start: 0.5,
        end: 2.5,
        speaker: "spk1",
        text: "hello there",
        labels: { gender: "f" },
      },
    ]);
    tree(
      {
        "train.tsv": ["sounds", "a/1.flac\t32000"],
        "train.ltr": ["H E | I T |"],
        "dev_other.tsv": ["sounds", "a/2.flac\t8000"],
        "dev_other.phn": ["h eh"],
      },
      "sounds/a/1.flac",
      "sounds/a/2.flac",
    );
    expect(await read("fairseq")).toEqual([
      { id: "dev_other-a-2", audio: "sounds/a/2.flac", duration: 0.5, phones: ["h", "eh"], split: "valid" },
      { id: "train-a-1", audio: "sounds/a/1.flac", duration: 2, text: "HE IT", split: "train" },
    ]);
    tree({ "train.ltr": ["A |", "B |"] });
    await expect(read("fairseq")).rejects.toThrow(
      /train\.ltr: 2 lines, but .*train\.tsv names 1 sound files/,
    );
  });
});

describe("what all readers share", () => {
  test("every reader refuses a folder of something else, with a sentence", async () => {
    tree({ "readme.txt": "nothing here" });
    for (const name of Object.keys(readers)) {
      const attempt = readCorpus(name, readers, folder).then(() => undefined);
      await expect(attempt, name).rejects.toThrow(UserError);
    }
  });

  test("unknown corpora, options and folders; files that are named but absent", async () => {
    await expect(readCorpus("librispech", readers, folder)).rejects.toThrow(/did you mean "librispeech"\?/);
    await expect(readCorpus("fsdd", readers, join(folder, "no"))).rejects.toThrow(/there is no such folder/);
    tree({}, "recordings/7_george_3.wav");
    await expect(read("fsdd", { classes: "4" })).rejects.toThrow(
      /fsdd has no option "classes"; it takes none/,
    );
    tree({ "list.csv": ["path,text", "a.wav,x", "recordings/7_george_3.wav,y"] });
    await expect(read("csv")).rejects.toThrow(
      /a\.wav: the corpus names this sound file \(a\), but it is not there/,
    );
    const missing: string[] = [];
    const rest = await readCorpus("csv", readers, folder, {}, (u) => missing.push(u.id));
    expect([rest.length, missing]).toEqual([1, ["a"]]);
    await expect(readCorpus("timit", readers, folder, { phones: "40" })).rejects.toThrow(
      /must be one of 61, 39/,
    );
  });
});
