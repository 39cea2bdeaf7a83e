import {
  type ByteSource,
  bytesPer,
  checkFormat,
  type PcmEncoding,
  type PcmLayout,
  refuse,
  refuseShort,
} from "./pcm.ts";

const ascii = (bytes: Uint8Array, at: number, count = 4) =>
  String.fromCharCode(...bytes.subarray(at, at + count));

/** Format tags (mmreg.h) that are named in a refusal. */
const compressed: Record<number, string> = {
  2: "Microsoft ADPCM",
  17: "IMA ADPCM",
  49: "GSM 6.10",
  80: "MPEG layer 2",
  85: "MP3",
  353: "Windows Media Audio",
};

/** True for the three spellings of the outer chunk: RIFF, RIFX (big-endian) and RF64 (64-bit sizes, EBU Tech 3306). */
export const isWav = (head: Uint8Array) =>
  head.length >= 12 && ["RIFF", "RIFX", "RF64"].includes(ascii(head, 0)) && ascii(head, 8) === "WAVE";

/** Sizes that programs write when they stream and cannot go back: the data then lasts to the end of the file. */
const unknownSizes = [0xffffffff, 0x7fffffff, 0x7ffff000];

/**
 * Finds the samples of a WAV file by its chunks, reading no sample. Takes PCM of 8 to 32 bits, 32/64-bit floats, A-law
 * and mu-law, each also as WAVE_FORMAT_EXTENSIBLE. A file shorter than its header promises is refused.
 */
export function parseWav(source: ByteSource, name: string): PcmLayout {
  const outer = ascii(source.read(0, 4), 0);
  const littleEndian = outer !== "RIFX";
  let format: Pick<PcmLayout, "encoding" | "channels" | "sampleRate"> | undefined;
  let longDataSize: number | undefined;
  let at = 12;
  while (at + 8 <= source.size) {
    const head = source.read(at, at + 8);
    const id = ascii(head, 0);
    // Zeros or noise in place of a chunk would otherwise be walked through eight bytes at a time.
    if (!/^[ -~]{4}$/.test(id)) refuse(name, `the WAV file is damaged: no chunk begins at byte ${at}`);
    let size = new DataView(head.buffer, head.byteOffset).getUint32(4, littleEndian);
    const body = at + 8;
    if (id === "ds64" && outer === "RF64") {
      const bytes = source.read(body, body + 16);
      if (bytes.length === 16)
        longDataSize = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(8, true));
    }
    if (id === "fmt ") format = parseFormat(source.read(body, body + Math.min(size, 40)), littleEndian, name);
    if (id === "data") {
      if (!format) refuse(name, "the WAV file has no fmt chunk before its data; it is damaged");
      const available = source.size - body;
      if (size === 0xffffffff && longDataSize !== undefined) size = longDataSize;
      else if (unknownSizes.includes(size) && size > available) size = available;
      const stride = bytesPer[format.encoding] * format.channels;
      const samples = Math.floor(size / stride);
      const bytesPerSecond = stride * format.sampleRate;
      if (size > available) refuseShort(name, size / bytesPerSecond, available / bytesPerSecond);
      if (samples === 0) refuse(name, "the WAV file holds no audio (its data chunk is empty)");
      return { ...format, littleEndian, offset: body, samples };
    }
    at = body + size + (size & 1);
  }
  refuse(name, "the WAV file ends before its data chunk; it is cut short or damaged");
}

function parseFormat(bytes: Uint8Array, littleEndian: boolean, name: string) {
  if (bytes.length < 16) refuse(name, "the fmt chunk of the WAV file is cut short");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let tag = view.getUint16(0, littleEndian);
  const channels = view.getUint16(2, littleEndian);
  const sampleRate = view.getUint32(4, littleEndian);
  const blockAlign = view.getUint16(12, littleEndian);
  // WAVE_FORMAT_EXTENSIBLE: the tag proper is the first two bytes of the sub-format GUID.
  if (tag === 0xfffe && bytes.length >= 26) tag = view.getUint16(24, littleEndian);
  checkFormat(sampleRate, channels, name);
  // The container's width counts, not the bits said to be valid: 20 bits lie left-justified in 24.
  const width = blockAlign / channels;
  const encoding = encodings[`${tag}:${width}`];
  if (!encoding) {
    const what = compressed[tag] ?? `format ${tag} with ${width * 8} bits per sample`;
    refuse(
      name,
      `the WAV file holds ${what}; needed is PCM (8, 16, 24, 32 bits), float (32, 64), A-law or mu-law`,
    );
  }
  return { encoding, channels, sampleRate };
}

const encodings: Record<string, PcmEncoding | undefined> = {
  "1:1": "u8",
  "1:2": "s16",
  "1:3": "s24",
  "1:4": "s32",
  "3:4": "f32",
  "3:8": "f64",
  "6:1": "alaw",
  "7:1": "ulaw",
};

/**
 * Writes a mono WAV file: 16-bit PCM (rounded, clipped to [-32768, 32767]) or 32-bit float.
 * `samples` [samples] in [-1, 1), `sampleRate` in Hz.
 */
export function encodeWav(
  samples: Float32Array,
  sampleRate: number,
  format: "pcm16" | "float32" = "pcm16",
): Uint8Array {
  const float = format === "float32";
  const width = float ? 4 : 2;
  const bytes = new Uint8Array(44 + samples.length * width);
  const view = new DataView(bytes.buffer);
  const put = (at: number, text: string) => {
    for (let i = 0; i < text.length; i++) bytes[at + i] = text.charCodeAt(i);
  };
  put(0, "RIFF");
  view.setUint32(4, bytes.length - 8, true);
  put(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, float ? 3 : 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, sampleRate, true);
  view.setUint32(28, sampleRate * width, true);
  view.setUint16(32, width, true);
  view.setUint16(34, width * 8, true);
  put(36, "data");
  view.setUint32(40, samples.length * width, true);
  for (let i = 0; i < samples.length; i++) {
    if (float) view.setFloat32(44 + 4 * i, samples[i], true);
    else view.setInt16(44 + 2 * i, Math.max(-32768, Math.min(32767, Math.round(samples[i] * 32768))), true);
  }
  return bytes;
}
