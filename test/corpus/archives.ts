import { deflateRawSync } from "node:zlib";

/** A tar archive; names over 100 letters the pax or the GNU way. */
export function tar(files: Record<string, string>, longNames: "pax" | "gnu" = "pax"): Buffer {
  const entry = (name: string, type: string, data: Buffer) => {
    const header = Buffer.alloc(512);
    header.write(name.slice(0, 100), 0);
    header.write("0000644\0", 100);
    header.write(`${data.length.toString(8).padStart(11, "0")}\0`, 124);
    header.write("        ", 148);
    header.write(type, 156);
    header.write("ustar\x0000", 257);
    const sum = header.reduce((s, byte) => s + byte, 0);
    header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
    return Buffer.concat([header, data, Buffer.alloc((512 - (data.length % 512)) % 512)]);
  };
  const parts = Object.entries(files).flatMap(([name, content]) => {
    const plain = entry(name, name.endsWith("/") ? "5" : "0", Buffer.from(content));
    if (name.length <= 100) return [plain];
    if (longNames === "gnu") return [entry("././@LongLink", "L", Buffer.from(`${name}\0`)), plain];
    const line = ` path=${name}\n`;
    let size = line.length + 2;
    while (`${size}${line}`.length !== size) size++;
    return [entry("pax", "x", Buffer.from(`${size}${line}`)), plain];
  });
  return Buffer.concat([...parts, Buffer.alloc(1024)]);
}

export function zip(files: Record<string, string>): Buffer {
  const locals: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  Object.entries(files).forEach(([name, content], i) => {
    const method = i % 2 === 0 ? 8 : 0; // both kinds
    const data = method === 8 ? deflateRawSync(content) : Buffer.from(content);
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(method, 8);
    local.writeUInt16LE(Buffer.byteLength(name), 26);
    const central = Buffer.alloc(46);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt16LE(method, 10);
    central.writeUInt32LE(data.length, 20);
    central.writeUInt16LE(Buffer.byteLength(name), 28);
    central.writeUInt32LE(at, 42);
    locals.push(local, Buffer.from(name), data);
    directory.push(central, Buffer.from(name));
    at += 30 + Buffer.byteLength(name) + data.length;
  });
  const list = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(Object.keys(files).length, 10);
  end.writeUInt32LE(list.length, 12);
  end.writeUInt32LE(at, 16);
  return Buffer.concat([...locals, list, end]);
}
