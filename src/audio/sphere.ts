import {
  type ByteSource,
  checkFormat,
  type PcmEncoding,
  type PcmLayout,
  refuse,
  refuseShort,
} from "./pcm.ts";

const magic = "NIST_1A\n";

export const isSphere = (head: Uint8Array) =>
  head.length >= 8 && String.fromCharCode(...head.subarray(0, 8)) === magic;

/**
 * Finds the samples of a NIST SPHERE file (TIMIT, WSJ, TED-LIUM, LDC corpora). The header is text: `NIST_1A`, its own
 * size in bytes, then lines `name -type value` up to `end_head`. Takes pcm of 1 to 4 bytes in both byte orders, ulaw and
 * alaw; `shorten` compression is refused.
 */
export function parseSphere(source: ByteSource, name: string): PcmLayout {
  const offset = Number(String.fromCharCode(...source.read(8, 16)).trim());
  if (!(Number.isInteger(offset) && offset >= 16 && offset <= 1 << 20))
    refuse(name, "the size line of the SPHERE header is damaged");
  if (offset > source.size)
    refuse(
      name,
      `the SPHERE header is to fill ${offset} bytes, but the file has ${source.size}; it is cut short or damaged`,
    );
  const bytes = source.read(16, offset);
  const text = new TextDecoder("latin1").decode(bytes);
  const end = text.search(/^end_head\b/m);
  if (end < 0) refuse(name, "the SPHERE header has no end_head line; the file is cut short or damaged");
  const fields = new Map<string, string>();
  for (const line of text.slice(0, end).split("\n")) {
    const match = /^(\S+) -(?:i|r|s\d+) (.*)$/.exec(line.trimEnd());
    if (match) fields.set(match[1], match[2].trim());
  }
  const number = (key: string): number => {
    const value = Number(fields.get(key));
    if (!Number.isInteger(value) || value < 0) refuse(name, `the SPHERE header has no usable ${key}`);
    return value;
  };
  const coding = fields.get("sample_coding") ?? "pcm";
  if (/shorten|shortpack|wavpack/.test(coding))
    refuse(name, `the SPHERE file is compressed (${coding}); decompress it with sph2pipe first`);
  const sampleRate = number("sample_rate");
  const channels = fields.has("channel_count") ? number("channel_count") : 1;
  checkFormat(sampleRate, channels, name);
  const width = number("sample_n_bytes");
  const encoding = encodings[`${coding}:${width}`];
  if (!encoding)
    refuse(
      name,
      `SPHERE coding ${coding} with ${width} bytes a sample is not known; pcm, ulaw or alaw is needed`,
    );
  // "01": low byte first; "10": high byte first; longer samples repeat the pattern ("0123", "3210").
  const littleEndian = !/^(10|3210|210)$/.test(fields.get("sample_byte_format") ?? "01");
  const stride = width * channels;
  const available = Math.floor((source.size - offset) / stride);
  const samples = fields.has("sample_count") ? number("sample_count") : available;
  if (samples > available) refuseShort(name, samples / sampleRate, available / sampleRate);
  if (samples === 0) refuse(name, "the SPHERE file holds no audio");
  return { encoding, littleEndian, channels, sampleRate, offset, samples };
}

const encodings: Record<string, PcmEncoding | undefined> = {
  "pcm:1": "s8",
  "pcm:2": "s16",
  "pcm:3": "s24",
  "pcm:4": "s32",
  "ulaw:1": "ulaw",
  "mu-law:1": "ulaw",
  "alaw:1": "alaw",
};
