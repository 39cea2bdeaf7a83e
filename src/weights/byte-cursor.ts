import type { ByteSource, Fail } from "./tensor-file.ts";

const WINDOW = 1 << 16;
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * Reads forward through part of a source, a window at a time. Asking for bytes past `end` calls `fail`, whatever the
 * size asked for, before anything is allocated.
 */
export class ByteCursor {
  position: number;
  readonly end: number;
  readonly fail: Fail;
  private readonly source: ByteSource;
  private window = new Uint8Array(0);
  private windowStart = 0;

  constructor(source: ByteSource, start: number, end: number, fail: Fail) {
    this.source = source;
    this.position = start;
    this.end = end;
    this.fail = fail;
  }

  private need(count: number): void {
    if (this.position + count > this.end) this.fail(`ends too early, at byte ${this.end} (truncated?)`);
  }

  /** The next `count` bytes, as a copy. */
  bytes(count: number): Uint8Array {
    this.need(count);
    const inWindow = this.position - this.windowStart;
    let result: Uint8Array;
    if (inWindow + count <= this.window.length) result = this.window.slice(inWindow, inWindow + count);
    else {
      result = new Uint8Array(count);
      this.source.read(this.position, result);
    }
    this.position += count;
    return result;
  }

  /** A view of the next few bytes, valid until the next call. */
  private view(count: number): DataView {
    this.need(count);
    if (this.position + count > this.windowStart + this.window.length) {
      this.window = new Uint8Array(Math.min(WINDOW, this.end - this.position));
      this.windowStart = this.position;
      this.source.read(this.position, this.window);
    }
    const view = new DataView(this.window.buffer, this.position - this.windowStart, count);
    this.position += count;
    return view;
  }

  u8 = (): number => this.view(1).getUint8(0);
  u16 = (): number => this.view(2).getUint16(0, true);
  u32 = (): number => this.view(4).getUint32(0, true);
  i32 = (): number => this.view(4).getInt32(0, true);
  f64BigEndian = (): number => this.view(8).getFloat64(0, false);

  /** An unsigned 64-bit size; one beyond exact integers lies past any end. */
  u64 = (): number => Number(this.view(8).getBigUint64(0, true));

  utf8(count: number): string {
    return decoder.decode(this.bytes(count));
  }

  /** Text up to a newline, which is consumed; longer than `limit` characters is a fault. */
  line(limit = 1000): string {
    let text = "";
    for (let code = this.u8(); code !== 10; code = this.u8()) {
      if (text.length >= limit) this.fail("has a name that does not end");
      text += String.fromCharCode(code);
    }
    return text;
  }
}
