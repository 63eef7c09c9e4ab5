// The discrete Fourier transform of 2^n complex numbers, in place: Cooley & Tukey 1965, radix 2.

export class FFT {
  constructor(size) {
    this.size = size;
    this.cos = Float64Array.from({ length: size / 2 }, (_, k) => Math.cos((2 * Math.PI * k) / size));
    this.sin = Float64Array.from({ length: size / 2 }, (_, k) => Math.sin((2 * Math.PI * k) / size));
    const bits = Math.log2(size);
    this.reversed = Uint16Array.from({ length: size }, (_, index) => {
      let mirrored = 0;
      for (let bit = 0; bit < bits; bit++) mirrored |= ((index >> bit) & 1) << (bits - 1 - bit);
      return mirrored;
    });
  }

  // re, im: (size,) Float64Array, overwritten.
  transform(re, im) {
    const { size, cos, sin, reversed } = this;
    for (let i = 0; i < size; i++) {
      const j = reversed[i];
      if (i < j) {
        [re[i], re[j]] = [re[j], re[i]];
        [im[i], im[j]] = [im[j], im[i]];
      }
    }
    for (let half = 1; half < size; half *= 2) {
      const step = size / (2 * half);
      for (let start = 0; start < size; start += 2 * half) {
        for (let k = 0; k < half; k++) {
          const c = cos[k * step], s = sin[k * step];
          const upper = start + k, lower = upper + half;
          const x = re[lower] * c + im[lower] * s, y = im[lower] * c - re[lower] * s;
          re[lower] = re[upper] - x;
          im[lower] = im[upper] - y;
          re[upper] += x;
          im[upper] += y;
        }
      }
    }
  }
}
