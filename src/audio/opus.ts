/**
 * Samples at 48 kHz of an Ogg Opus packet, or undefined where its framing (RFC 6716, section 3 and appendix B) is
 * wrong, which is the one thing libopus can refuse: its decoder package would print that and play nothing for the
 * packet. All streams but the last of a packet are self-delimiting, and all last equally long (RFC 7845, section 3).
 */
export function opusPacketSamples(packet: Uint8Array, streams: number): number | undefined {
  let at = 0;
  let samples: number | undefined;
  for (let stream = 1; stream <= streams; stream++) {
    const part = parseFrames(packet, at, stream < streams);
    if (!part || (samples ?? part.samples) !== part.samples) return undefined;
    samples = part.samples;
    at = part.end;
  }
  return at === packet.length ? samples : undefined;
}

const mostFrameBytes = 1275;
const mostSamples = 5760; // 120 ms at 48 kHz

/** Samples per frame at 48 kHz by the configuration number of the first byte (RFC 6716, table 2). */
function frameSamples(config: number): number {
  if (config < 12) return [480, 960, 1920, 2880][config & 3];
  if (config < 16) return config & 1 ? 960 : 480;
  return 120 << (config & 3);
}

/** The end and duration of one stream's frames, which begin at `at`, or undefined where they break a rule. */
function parseFrames(packet: Uint8Array, at: number, delimited: boolean) {
  let next = at;
  let valid = at < packet.length;
  const byte = () => {
    if (next >= packet.length) valid = false;
    return packet[next++] ?? 0;
  };
  /** A frame's length takes one byte up to 251, then two (section 3.2.1). */
  const length = () => {
    const first = byte();
    const size = first < 252 ? first : first + 4 * byte();
    if (size > mostFrameBytes) valid = false;
    return size;
  };
  const head = byte();
  const code = head & 3;
  let count = code === 0 ? 1 : 2;
  let variable = code === 2;
  let padding = 0;
  if (code === 3) {
    const frames = byte();
    count = frames & 63;
    variable = (frames & 128) !== 0;
    if (count === 0 || count * frameSamples(head >> 3) > mostSamples) return undefined;
    for (let more = (frames & 64) !== 0; more && valid; ) {
      const size = byte();
      more = size === 255;
      padding += more ? 254 : size;
    }
  }
  let known = 0;
  for (let i = 1; variable && i < count; i++) known += length();
  if (!valid) return undefined;
  const samples = count * frameSamples(head >> 3);
  if (delimited) {
    const last = length();
    const end = next + known + (variable ? last : count * last) + padding;
    return valid && end <= packet.length ? { end, samples } : undefined;
  }
  const rest = packet.length - next - known - padding;
  const frames = variable ? 1 : count;
  const fits = rest >= 0 && rest % frames === 0 && rest / frames <= mostFrameBytes;
  return fits ? { end: packet.length, samples } : undefined;
}
