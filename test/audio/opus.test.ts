import { describe, expect, it } from "vitest";
import { opusPacketSamples } from "../../src/audio/opus.ts";

// Packets by hand from the rules R1 to R7 of RFC 6716, section 3.4; the first byte holds a configuration in its upper
// five bits (16 is 2.5 ms, 1 is 20 ms, 3 is 60 ms) and the code of the frame count in its lower two.
const head = (config: number, code: number) => (config << 3) | code;
const zeros = (count: number) => new Array<number>(count).fill(0);
const packet = (...bytes: number[]) => Uint8Array.from(bytes);

describe("Opus packets", () => {
  it.each<[string, boolean, Uint8Array]>([
    ["R1: a packet has a byte", false, packet()],
    ["code 0: one frame, perhaps empty", true, packet(head(1, 0))],
    ["R2: of 1275 bytes at most", true, packet(head(1, 0), ...zeros(1275))],
    ["R2: not of 1276", false, packet(head(1, 0), ...zeros(1276))],
    ["R3: code 1 halves the rest", true, packet(head(1, 1), ...zeros(10))],
    ["R3: which must be even", false, packet(head(1, 1), ...zeros(9))],
    ["R4: code 2 states the first frame's length", true, packet(head(1, 2), 4, ...zeros(10))],
    ["R4: which must be there", false, packet(head(1, 2), 4, ...zeros(3))],
    ["R4: in one byte or two", true, packet(head(1, 2), 252, 1, ...zeros(256))],
    ["R4: whole", false, packet(head(1, 2), 252)],
    ["R5: code 3 has a frame", false, packet(head(1, 3), 0)],
    ["R5: and 120 ms at most: 6 of 20 ms", true, packet(head(1, 3), 6, ...zeros(12))],
    ["R5: not 7", false, packet(head(1, 3), 7, ...zeros(14))],
    ["R5: not 3 of 60 ms", false, packet(head(3, 3), 3, ...zeros(3))],
    ["R5: 48 of 2.5 ms", true, packet(head(16, 3), 48, ...zeros(48))],
    ["R6: equal frames divide the rest", true, packet(head(1, 3), 3, ...zeros(9))],
    ["R6: without remainder", false, packet(head(1, 3), 3, ...zeros(8))],
    ["R6: padding is taken off first", true, packet(head(1, 3), 64 | 3, 2, ...zeros(9), ...zeros(2))],
    [
      "R6: padding of 255 counts 254 and goes on",
      true,
      packet(head(1, 3), 64 | 1, 255, 1, ...zeros(5 + 255)),
    ],
    ["R6: padding must be there", false, packet(head(1, 3), 64 | 1, 200, ...zeros(100))],
    ["R7: code 3 with lengths", true, packet(head(1, 3), 128 | 3, 2, 5, ...zeros(2 + 5 + 1))],
    ["R7: which must be there", false, packet(head(1, 3), 128 | 3, 2, 5, ...zeros(6))],
  ])("%s (%s)", (_, valid, bytes) => {
    expect(opusPacketSamples(bytes, 1) !== undefined).toBe(valid);
  });

  it.each([
    [960, packet(head(1, 0))],
    [2 * 960, packet(head(1, 1), 0, 0)],
    [5760, packet(head(16, 3), 48, ...zeros(48))],
    [480 + 480, packet(head(12, 2), 0)],
  ])("last %i samples", (samples, bytes) => {
    expect(opusPacketSamples(bytes, 1)).toBe(samples);
  });

  it("of several streams state the length of all but the last (appendix B)", () => {
    const first = [head(1, 0), 3, 0, 0, 0];
    const last = [head(1, 0), 0, 0];
    expect(opusPacketSamples(packet(...first, ...last), 2)).toBe(960);
    expect(opusPacketSamples(packet(...first), 2)).toBeUndefined();
    expect(opusPacketSamples(packet(head(1, 0), 9, 0, 0, 0), 2)).toBeUndefined();
    const equal = [head(1, 3), 2, 4, ...zeros(8)];
    const lengths = [head(1, 3), 128 | 2, 1, 4, ...zeros(5)];
    const pair = [head(1, 2), 1, 4, ...zeros(5)];
    const two = [head(1, 1), 0, 0];
    for (const stream of [equal, lengths, pair])
      expect(opusPacketSamples(packet(...stream, ...two), 2)).toBe(1920);
    // 40 ms beside 20 ms
    expect(opusPacketSamples(packet(...pair, ...last), 2)).toBeUndefined();
  });
});
