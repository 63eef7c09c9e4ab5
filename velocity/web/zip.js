// A ZIP file of uncompressed members (PKWARE, APPNOTE 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16).

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});
const VERSION = 20, UTF8 = 0x800, MIDNIGHT = 0, FIRST_DAY = 0x21; // 1980-01-01

// [{ name, content: Uint8Array }, …] → Blob.
export function zipped(files) {
  const parts = [], directory = [];
  let offset = 0;
  for (const { name, content } of files) {
    const path = new TextEncoder().encode(name);
    const common = [u16(VERSION), u16(UTF8), u16(0), u16(MIDNIGHT), u16(FIRST_DAY), u32(crc32(content))];
    common.push(u32(content.length), u32(content.length), u16(path.length), u16(0));
    const header = [u32(0x04034b50), ...common, path, content];
    directory.push(u32(0x02014b50), u16(VERSION), ...common, u16(0), u16(0), u16(0), u32(0), u32(offset), path);
    parts.push(...header);
    offset += size(header);
  }
  const count = u16(files.length);
  const end = [u32(0x06054b50), u16(0), u16(0), count, count, u32(size(directory)), u32(offset), u16(0)];
  return new Blob([...parts, ...directory, ...end], { type: 'application/zip' });
}

function crc32(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = TABLE[(value ^ byte) & 0xff] ^ (value >>> 8);
  return ~value >>> 0;
}

const size = (parts) => parts.reduce((sum, part) => sum + part.length, 0);
const u16 = (value) => Uint8Array.of(value, value >>> 8);
const u32 = (value) => Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24);
