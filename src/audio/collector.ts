import { type ChannelChoice, checkChannel, mixInto, refuse } from "./pcm.ts";

/**
 * Where a compressed recording goes as it is decoded, piece by piece: one channel, or the mean of all, of the samples
 * [start, end). Pieces are mixed while the processor's cache still holds them, and no second copy of the recording is made.
 */
export class Collector {
  readonly samples: Float32Array;
  /** Samples per channel that have come so far, those outside [start, end) too. */
  received = 0;
  private readonly channels: number;
  private readonly choice: ChannelChoice;
  private readonly start: number;
  private readonly name: string;

  constructor(
    {
      channels,
      channel,
      start,
      end,
    }: { channels: number; channel: ChannelChoice; start: number; end: number },
    name: string,
  ) {
    checkChannel(channel, channels, name);
    this.samples = new Float32Array(end - start);
    this.channels = channels;
    this.choice = channel;
    this.start = start;
    this.name = name;
  }

  /** Takes the next piece: its channels, all of one length. */
  add(piece: readonly Float32Array[]): void {
    const length = piece[0]?.length ?? 0;
    if (length === 0) return;
    if (piece.length !== this.channels)
      refuse(
        this.name,
        `holds ${piece.length} channels where its header says ${this.channels}; it is damaged`,
      );
    const from = Math.max(0, this.start - this.received);
    const at = this.received + from - this.start;
    const to = Math.min(length, from + this.samples.length - at);
    this.received += length;
    if (to > from) this.write(piece, from, to, at);
  }

  private write(piece: readonly Float32Array[], from: number, to: number, at: number): void {
    const wanted = this.choice === "mix" ? piece : [piece[this.choice]];
    mixInto(
      this.samples.subarray(at, at + to - from),
      wanted.map((all) => all.subarray(from, to)),
    );
  }
}
