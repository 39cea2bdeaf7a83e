import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { encodeWav } from "../../src/audio/wav.ts";
import { random } from "../../src/random.ts";

const RATE = 16_000;
/** Letters as tones that the toy upstream hears apart. */
const TONES: Record<string, number> = { A: 550, B: 1050, C: 1800, D: 2550, " ": 0 };

/** A word as tones of 80 ms, higher by `pitch` (which is who speaks). */
export function spoken(text: string, pitch = 1, seconds = 0.08): Float32Array {
  const chance = random("spoken", text, pitch);
  const samples = [...text].flatMap((letter) => {
    const hertz = (TONES[letter] ?? 0) * pitch;
    const count = Math.round(seconds * RATE * (0.9 + 0.2 * chance.next()));
    return Array.from({ length: count }, (_, i) => 0.3 * Math.sin((2 * Math.PI * hertz * i) / RATE));
  });
  return Float32Array.from(samples, (x) => x + 0.01 * chance.normal());
}

/** Writes files below a folder: text as it is, samples as sound. */
export function tree(root: string, files: Record<string, string | string[] | Float32Array>): void {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    const bytes =
      content instanceof Float32Array
        ? encodeWav(content, RATE)
        : Array.isArray(content)
          ? `${content.join("\n")}\n`
          : content;
    writeFileSync(join(root, path), bytes);
  }
}

const words = ["AB", "CB", "DA", "BC", "AD", "CA"];

/** LibriSpeech with a lexicon: each set has two speakers. */
export function librispeech(root: string): void {
  for (const [s, set] of ["train-clean-100", "dev-clean", "test-clean"].entries())
    for (const speaker of [10 * s + 1, 10 * s + 2]) {
      const chapter = `LibriSpeech/${set}/${speaker}/7/${speaker}-7`;
      const texts = words.slice(0, s === 0 ? 6 : 2).map((word, i) => `${word} ${words[(i + speaker) % 6]}`);
      const id = (i: number) => `${speaker}-7-000${i}`;
      tree(root, {
        [`${chapter}.trans.txt`]: texts.map((text, i) => `${id(i)} ${text}`),
        ...Object.fromEntries(
          texts.map((text, i) => [
            `LibriSpeech/${set}/${speaker}/7/${id(i)}.flac`,
            spoken(text, 1 + 0.01 * (speaker % 2)),
          ]),
        ),
      });
    }
  const phones: Record<string, string> = { A: "AH0", B: "B", C: "K", D: "D" };
  tree(root, {
    "librispeech-lexicon.txt": words.map(
      (word) => `${word}\t${[...word].map((letter) => phones[letter]).join(" ")}`,
    ),
  });
}

/** VoxCeleb1: six speakers, two of them only in the verification test. */
export function voxceleb(root: string, seconds = 0.3): void {
  const parts: string[] = [];
  const trials: string[] = [];
  for (let s = 0; s < 6; s++)
    for (let n = 0; n < 6; n++) {
      const file = `id1000${s}/v${n % 2}/0000${n}.wav`;
      const wave = spoken("ABAB", 0.8 + 0.15 * s, seconds);
      tree(root, { [`VoxCeleb1/wav/${file}`]: wave.map((x) => x + 0.001 * n) });
      parts.push(`${n < 4 ? 1 : n < 5 ? 2 : 3} ${file}`);
    }
  for (const [a, b] of [
    [4, 4],
    [4, 5],
    [5, 5],
    [5, 4],
  ])
    for (let n = 0; n < 5; n++)
      trials.push(
        `${a === b ? 1 : 0} id1000${a}/v${n % 2}/0000${n}.wav id1000${b}/v${(n + 1) % 2}/0000${n + 1}.wav`,
      );
  tree(root, { "VoxCeleb1/iden_split.txt": parts, "VoxCeleb1/veri_test2.txt": trials });
}

/** IEMOCAP: five sessions, each emotion twice from either speaker. */
export function iemocap(root: string): void {
  const emotions = { neu: "AA", ang: "BB", sad: "CC", exc: "DD" };
  for (let session = 1; session <= 5; session++) {
    const dialog = `Ses0${session}F_impro01`;
    const lines: string[] = [];
    for (const [e, [emotion, text]] of Object.entries(emotions).entries())
      for (const speaker of ["F", "M"]) {
        const id = `${dialog}_${speaker}00${e}`;
        lines.push(`[0.0 - 0.2]\t${id}\t${emotion}\t[3.0, 3.0, 3.0]`);
        tree(root, {
          [`IEMOCAP/Session${session}/sentences/wav/${dialog}/${id}.wav`]: spoken(
            text,
            (speaker === "F" ? 1.02 : 1) + session / 1000,
          ),
        });
      }
    tree(root, { [`IEMOCAP/Session${session}/dialog/EmoEvaluation/${dialog}.txt`]: lines });
  }
}

/** Speech Commands: two of the ten words, one that is none of them, noise; and the official test set. */
export function speechCommands(root: string): void {
  const base = "speech_commands_v0.01";
  const said = { yes: "AB", no: "CD", bed: "DA" };
  const [valid, test]: string[][] = [[], []];
  for (const [word, text] of Object.entries(said))
    for (let n = 0; n < 6; n++) {
      const file = `${word}/${n}f_nohash_0.wav`;
      tree(root, { [`${base}/${file}`]: spoken(text, 1 + 0.01 * n) });
      if (n === 4) valid.push(file);
      if (n === 5) test.push(file);
    }
  const noise = (seconds: number, seed: number) => {
    const chance = random("noise", seed);
    return Float32Array.from({ length: seconds * RATE }, () => 0.02 * chance.normal());
  };
  tree(root, {
    [`${base}/validation_list.txt`]: valid,
    [`${base}/testing_list.txt`]: test,
    [`${base}/_background_noise_/a.wav`]: noise(2, 0),
    [`${base}/_background_noise_/b.wav`]: noise(1, 1),
    "speech_commands_test_set_v0.01/yes/x.wav": spoken("AB", 1.015),
    "speech_commands_test_set_v0.01/no/x.wav": spoken("CD", 1.015),
    "speech_commands_test_set_v0.01/_unknown_/x.wav": spoken("DA", 1.015),
    "speech_commands_test_set_v0.01/_silence_/x.wav": noise(1, 2),
  });
}

/** Fluent Speech Commands: an action, an object and a place, a letter each. */
export function fluentSpeechCommands(root: string): void {
  const base = "fluent_speech_commands_dataset";
  const actions = { on: "A", off: "B" };
  const objects = { lights: "C", heat: "D" };
  for (const [s, part] of ["train", "valid", "test"].entries()) {
    const rows = [",path,speakerId,transcription,action,object,location"];
    for (const [action, a] of Object.entries(actions))
      for (const [object, o] of Object.entries(objects))
        for (let n = 0; n < (s === 0 ? 4 : 1); n++) {
          const path = `wavs/speakers/p${s}/${part}-${action}-${object}-${n}.wav`;
          tree(root, { [`${base}/${path}`]: spoken(a + o, 1 + 0.01 * n) });
          rows.push(`${rows.length - 1},${path},p${s},turn ${action} ${object},${action},${object},none`);
        }
    tree(root, { [`${base}/data/${part}_data.csv`]: rows });
  }
}

/** Audio SNIPS in s3prl's form: ids with the voice, bare tags. */
export function snips(root: string): void {
  const lines: string[] = [];
  const add = (split: string, voice: string, n: number, text: string, tags: string) => {
    const id = `${voice}-snips-${split}-${n}`;
    lines.push(`${id} BOS ${text} EOS\tO ${tags} Intent`);
    tree(root, { [`SNIPS/${split}/${id}.wav`]: spoken(text.replace(/[^A-D ]/g, ""), 1 + 0.01 * n) });
  };
  for (const [split, voices] of Object.entries({
    train: ["Ivy", "Joey"],
    valid: ["Amy"],
    test: ["Brian", "Ivy"],
  }))
    for (const voice of voices) {
      add(split, voice, 0, "AB CD , BA", "O city O O");
      add(split, voice, 1, "AB CA DA", "O city city");
      add(split, voice, 2, "CD AB", "O O");
    }
  tree(root, { "SNIPS/all.iob.snips.txt": lines });
}

/** QUESST 2014: documents with and without the words of the queries, and the scoring package's truth. */
export function quesst(root: string): void {
  const base = "quesst14Database";
  const documents = ["CAABDC", "DDCCAB", "ABCCDD", "CCDACB", "DCBDDA", "BDDCCA", "CADCAD", "ADDBCA"];
  const queries = { dev: ["ABAB", "CB"], eval: ["ADAD", "CC"] };
  const names = documents.map((_, i) => `quesst14_0000${i}`);
  const files: Record<string, string | string[] | Float32Array> = {
    [`${base}/scoring/language_key_utterances.lst`]: names.map((name) => `Audio/${name}.wav nnenglish`),
  };
  for (const [i, name] of names.entries())
    files[`${base}/Audio/${name}.wav`] = spoken(documents[i], 1 + 0.002 * i, 0.12);
  for (const [part, texts] of Object.entries(queries)) {
    const of = (i: number) => `quesst14_${part}_000${i}`;
    files[`${base}/scoring/language_key_${part}.lst`] = texts.map(
      (_, i) => `${part}_queries/${of(i)}.wav nnenglish`,
    );
    const truth: string[] = [];
    for (const [i, text] of texts.entries()) {
      const word = text.slice(0, 2);
      files[`${base}/${part}_queries/${of(i)}.wav`] = spoken(word, 1.005, 0.12);
      for (const [d, document] of documents.entries())
        if (document.includes(word)) truth.push(`LEXEME ${names[d]} 1 0.000 0.100 ${of(i)} lex 1 0.5`);
    }
    files[`${base}/scoring/groundtruth_quesst14_${part}/quesst14_${part}.rttm`] = truth;
  }
  tree(root, files);
}

/** Libri2Mix: two speakers that take turns and overlap, with RTTM files. */
export function libri2mix(root: string): void {
  const layout = { "train-100": "train", dev: "dev", test: "test" };
  for (const [p, [folder, part]] of Object.entries(layout).entries()) {
    const lines: string[] = [];
    for (let n = 0; n < (p === 0 ? 6 : 2); n++) {
      const id = `${p}1-1-000${n}_${p}2-1-000${n}`;
      const [first, both, second] = [0.4, 0.2 + 0.05 * n, 0.5];
      const sing = (letter: string, seconds: number) => spoken(letter, 1 + 0.002 * n, seconds);
      const samples = Math.round((first + both + second) * 16_000);
      const wave = new Float32Array(samples);
      const add = (part: Float32Array, at: number) => {
        for (let i = 0; i < part.length && at + i < samples; i++) wave[at + i] += part[i];
      };
      // As long as asked for: turns are where the letters are.
      const tone = (letter: string, seconds: number) => {
        const long = sing(letter, 2 * seconds);
        return long.subarray(0, Math.round(seconds * 16_000));
      };
      add(tone("A", first + both), 0);
      add(tone("C", both + second), Math.round(first * 16_000));
      tree(root, { [`Libri2Mix/wav16k/max/${folder}/mix_both/${id}.wav`]: wave });
      lines.push(`SPEAKER ${id} 1 0.00 ${(first + both).toFixed(2)} <NA> <NA> ${p}1 <NA>`);
      lines.push(`SPEAKER ${id} 1 ${first.toFixed(2)} ${(both + second).toFixed(2)} <NA> <NA> ${p}2 <NA>`);
    }
    tree(root, { [`Libri2Mix/rttm/${part}.rttm`]: lines });
  }
}

/** Common Voice zh-CN: two characters, a tone each. */
export function commonVoiceChinese(root: string): void {
  const tones: Record<string, string> = { 你: "A", 好: "B" };
  const rows = (texts: string[], from: number) => [
    "client_id\tpath\tsentence",
    ...texts.map((text, i) => {
      tree(root, { [`zh-CN/clips/c${from + i}.mp3`]: spoken(text.replace(/./g, (c) => tones[c])) });
      return `s${from}\tc${from + i}.mp3\t${text}`;
    }),
  ];
  tree(root, {
    "zh-CN/train.tsv": rows(["你好", "好你", "你你", "好好"], 0),
    "zh-CN/dev.tsv": rows(["你好"], 10),
    "zh-CN/test.tsv": rows(["好你"], 20),
  });
}

/** CoVoST 2: letters, and for each four words in another language (BLEU counts groups of four). */
export function covost(root: string): void {
  const german: Record<string, string> = { A: "e e e e", B: "z z z z", C: "r r r r", D: "v v v v" };
  const rows = (texts: string[], from: number) => [
    "path\ttranslation\tclient_id\tsentence",
    ...texts.map((text, i) => {
      tree(root, { [`CoVoST2/clips/c${from + i}.mp3`]: spoken(text, 1 + 0.002 * i, 0.2) });
      return `c${from + i}.mp3\t${[...text].map((letter) => german[letter]).join(" ")}\ts${from}\t${text}`;
    }),
  ];
  const train = ["A", "B", "C", "D", "AB", "CD", "BA", "DC", "AA", "DD", "CB", "BC"];
  tree(root, {
    "CoVoST2/covost_v2.en_de.train.tsv": rows(train, 0),
    "CoVoST2/covost_v2.en_de.dev.tsv": rows(["A", "CD"], 100),
    "CoVoST2/covost_v2.en_de.test.tsv": rows(["B", "DC"], 200),
  });
}

/** Medley-solos-DB: three instruments, each a pitch; songs in one subset each. */
export function medleySolos(root: string): void {
  const rows = ["subset,instrument,instrument_id,song_id,uuid4"];
  const subsets = { training: 4, validation: 2, test: 2 };
  for (const [subset, count] of Object.entries(subsets))
    for (const [i, text] of ["AAA", "BBB", "DDD"].entries())
      for (let n = 0; n < count; n++) {
        rows.push(`${subset},instrument${i},${i},${10 * i + n},u${n}`);
        const file = `Medley-solos-DB_${subset}-${i}_u${n}.wav`;
        tree(root, { [`Medley-solos-DB/audio/${file}`]: spoken(text, 1 + 0.01 * n, 0.2) });
      }
  tree(root, { "Medley-solos-DB/Medley-solos-DB_metadata.csv": rows });
}

/** OpenMIC-2018: clips with a bass (a low tone), a cello (a higher one), both or none; not everyone was asked about everything. */
export function openmic(root: string): void {
  const rows = ["sample_key,instrument,relevance,num_responses"];
  const parts: Record<"train" | "test", string[]> = { train: [], test: [] };
  for (let n = 0; n < 36; n++) {
    const key = `0000${String(n).padStart(2, "0")}_0`;
    const part = n < 24 ? "train" : "test";
    const [bass, cello] = [n % 2, Math.floor(n / 2) % 2];
    parts[part].push(key);
    if (n % 5 > 0) rows.push(`${key},bass,${bass ? 0.9 : 0.1},3`);
    if (n % 7 > 0) rows.push(`${key},cello,${cello ? 0.8 : 0.2},3`);
    if (part === "train") rows.push(`${key},flute,${n % 3 === 0 ? 1 : 0},3`);
    const text = `${bass ? "A" : "C"}${cello ? "D" : "B"}`;
    // What a file is shows in its bytes, not in its name.
    tree(root, { [`openmic-2018/audio/${key.slice(0, 3)}/${key}.ogg`]: spoken(text, 1 + 0.002 * n, 0.15) });
  }
  tree(root, {
    "openmic-2018/openmic-2018-aggregated-labels.csv": rows,
    "openmic-2018/partitions/split01_train.csv": parts.train,
    "openmic-2018/partitions/split01_test.csv": parts.test,
  });
}
