import { quote, UserError } from "../errors.ts";
import { groupBy } from "./group.ts";
import type { Phone } from "./manifest.ts";
import { withoutStress } from "./vocab.ts";

export interface SpeechRequest {
  text: string;
  /** A voice of espeak-ng, with or without a variant: "en-us", "en-us+f3", "de+Andy". */
  voice: string;
  /** 0 to 99, default 50. */
  pitch?: number;
  /** How lively the pitch moves, 0 to 100, default 50. */
  range?: number;
  /** Words a minute, 80 to 450, default 175. */
  rate?: number;
}

export interface Speech {
  /** [samples] within [-1, 1] */
  samples: Float32Array;
  /** Hz */
  sampleRate: number;
  /** IPA without stress marks, in seconds, from the synthesiser's own events. A stop's closure belongs to the phone before. */
  phones: Phone[];
  words: { word: string; start: number; end: number }[];
}

/** What this file uses of @echogarden/espeak-ng-emscripten, which has no types of its own. */
interface Espeak {
  HEAPU8: Uint8Array;
  FS: { readdir(path: string): string[] };
  eSpeakNGWorker: new () => EspeakWorker;
}
interface EspeakEvent {
  type: string;
  /** 1-based place in the text, in characters */
  text_position: number;
  word_length: number;
  /** ms */
  audio_position: number;
  id?: string | number;
}
interface EspeakWorker {
  list_voices(): { name: string; identifier: string; languages: { name: string }[] }[];
  /** 0 for success */
  set_voice(voice: string): number;
  set_pitch(value: number): void;
  set_range(value: number): void;
  set_rate(value: number): void;
  get_samplerate(): number;
  synthesize(text: string, callback: (audio: Int16Array, events: EspeakEvent[]) => void): void;
}

const packageName = "@echogarden/espeak-ng-emscripten";
/** Bytes of the longest text; see `boot`. */
const longestText = 16384;

/**
 * Speaks a sentence. The same request gives the same samples on every machine, whatever was spoken before.
 *
 * @throws UserError where espeak-ng is not installed, or for an unknown voice or a value out of range.
 */
export async function synthesize(request: SpeechRequest): Promise<Speech> {
  const { text, voice, pitch = 50, range = 50, rate = 175 } = request;
  checkRange("pitch", pitch, 0, 99);
  checkRange("range", range, 0, 100);
  checkRange("rate", rate, 80, 450);
  if (new TextEncoder().encode(text).length > longestText) {
    throw new UserError(
      `the text ${quote(text)} is too long to be spoken as one utterance (${longestText} bytes)`,
    );
  }
  const machine = await (espeak ??= boot());
  checkVoice(voice, machine);
  // The failure of one call must not reach the next: another machine is started then.
  try {
    return speak(machine, { text, voice, pitch, range, rate });
  } catch (error) {
    espeak = undefined;
    throw error;
  }
}

/** The voices and variants that are there. */
export async function listVoices(): Promise<{ voices: string[]; variants: string[] }> {
  const { voices, variants } = await (espeak ??= boot());
  return { voices: [...voices], variants: [...variants] };
}

/** Phones of a text, in IPA without stress marks, word by word. */
export async function phonemize(text: string, voice: string): Promise<{ word: string; phones: string[] }[]> {
  const { phones, words } = await synthesize({ text, voice });
  return words.map(({ word, start, end }) => ({
    word,
    phones: phones.filter((p) => p.start >= start && p.start < end).map((p) => p.phone),
  }));
}

interface Machine {
  module: Espeak;
  worker: EspeakWorker;
  /** The memory as it was before anything was spoken. */
  pristine: Uint8Array;
  voices: Set<string>;
  variants: Set<string>;
}
let espeak: Promise<Machine> | undefined;

/**
 * Starts espeak-ng. Its random state and buffers carry over from call to call, so equal requests would sound
 * differently; a fresh start per utterance costs a quarter of a second. Instead the memory is copied once and put back
 * before each call (2 ms). One part lives outside that memory: the binding's buffer for strings, which is allocated
 * when first used and again when too small. Two calls with a text longer than any we allow bring it to its final
 * place before the copy is made.
 */
async function boot(): Promise<Machine> {
  let start: () => Promise<Espeak>;
  try {
    start = ((await import(packageName)) as { default: () => Promise<Espeak> }).default;
  } catch (error) {
    if ((error as { code?: string }).code !== "ERR_MODULE_NOT_FOUND") throw error;
    throw new UserError(
      `speech synthesis needs espeak-ng, which is not installed; get it with: npm install ${packageName}`,
    );
  }
  const module = await start();
  const worker = withStoppedClock(() => new module.eSpeakNGWorker());
  const voices = new Set<string>();
  for (const { identifier, languages } of worker.list_voices()) {
    voices.add(identifier);
    for (const { name } of languages) voices.add(name);
  }
  const variants = module.FS.readdir("/usr/share/espeak-ng-data/voices/!v").filter(
    (name) => !name.startsWith("."),
  );
  for (let i = 0; i < 2; i++) worker.set_voice("x".repeat(longestText + 1024));
  return { module, worker, pristine: module.HEAPU8.slice(), voices, variants: new Set(variants) };
}

/** The start seeds the noise of breathy voices by the time of day; nothing else asks for the time meanwhile. */
function withStoppedClock<T>(start: () => T): T {
  const { now } = Date;
  Date.now = () => 0;
  try {
    return start();
  } finally {
    Date.now = now;
  }
}

function speak(machine: Machine, { text, voice, pitch, range, rate }: Required<SpeechRequest>): Speech {
  const { module, worker, pristine } = machine;
  module.HEAPU8.set(pristine);
  module.HEAPU8.fill(0, pristine.length); // memory may have grown
  if (worker.set_voice(voice) !== 0) throw new UserError(`espeak-ng refuses the voice ${quote(voice)}`);
  worker.set_pitch(pitch);
  worker.set_range(range);
  worker.set_rate(rate);
  const chunks: Int16Array[] = [];
  const events: EspeakEvent[] = [];
  worker.synthesize(text, (audio, list) => {
    chunks.push(audio);
    events.push(...list);
  });
  const sampleRate = worker.get_samplerate();
  const samples = new Float32Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) for (const value of chunk) samples[at++] = value / 32768;
  return { samples, sampleRate, ...timings(events, text, samples.length / sampleRate) };
}

/** Phones last until the next event of a phone or pause; words from their first phone's start to their last one's end. */
function timings(events: EspeakEvent[], text: string, duration: number): Pick<Speech, "phones" | "words"> {
  const characters = [...text];
  const phones: (Phone & { place: number })[] = [];
  /** First character of the word being spoken, and the one after its last. */
  let word = { from: 0, to: 0 };
  const spelled = new Map<number, string>();
  for (const event of events) {
    if (event.type === "word") {
      const from = event.text_position - 1;
      const to = from + event.word_length;
      // Parts of a number are events of their own that lie within it.
      word = from < word.to ? { ...word, to: Math.max(word.to, to) } : { from, to };
      spelled.set(word.from, characters.slice(word.from, word.to).join("").trim());
    } else if (event.type === "phoneme" || event.type === "end") {
      const time = Math.min(event.audio_position / 1000, duration);
      const last = phones.at(-1);
      if (last !== undefined && Number.isNaN(last.end)) last.end = time;
      const phone = withoutStress(nameOf(event));
      if (event.type === "phoneme" && phone !== "")
        phones.push({ phone, start: time, end: Number.NaN, place: word.from });
    }
  }
  const last = phones.at(-1);
  if (last !== undefined && Number.isNaN(last.end)) last.end = duration;
  const heard = phones.filter((p) => p.end > p.start);
  const words = [...groupBy(heard, (p) => p.place)].map(([place, own]) => ({
    word: spelled.get(place) ?? "",
    start: own[0].start,
    end: own[own.length - 1].end,
  }));
  return { phones: heard.map(({ place: _, ...phone }) => phone), words };
}

/**
 * The name of an event's phoneme. espeak-ng keeps it in eight bytes, without an end mark where it fills them (`ˈɔːɹ`); what
 * is read then goes on with the type of the next event, a number below 32.
 */
const nameOf = ({ id = "" }: EspeakEvent): string => String(id).split(/\p{Cc}/u)[0];

function checkVoice(voice: string, { voices, variants }: Machine): void {
  const [base, variant] = voice.split("+");
  if (!voices.has(base)) {
    throw new UserError(
      `espeak-ng has no voice ${quote(base)}; it has en-us, en-gb, de, fr-fr, es and ${voices.size} more`,
    );
  }
  // espeak-ng itself would go on in silence with the plain voice.
  if (variant !== undefined && !variants.has(variant)) {
    throw new UserError(
      `espeak-ng has no voice variant ${quote(variant)}; it has ${[...variants].sort().join(", ")}`,
    );
  }
}

function checkRange(name: string, value: number, low: number, high: number): void {
  if (!(value >= low && value <= high))
    throw new UserError(`${name} must be from ${low} to ${high}, not ${value}`);
}
