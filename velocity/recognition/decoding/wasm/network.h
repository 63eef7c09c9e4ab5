// The recurrent network of the language model: an LSTM of words (Hochreiter & Schmidhuber 1997; Sundermeyer et al.
// 2012), as velocity/recognition/language_model/recurrent.py describes it. Its probabilities add up to about 1 without
// being divided by their sum, so a word costs one product of vectors, and a history one step. Row RARE is all words
// that have no row of their own.

#pragma once

#include <wasm_simd128.h>

#include "common.h"
#include "ngrams.h"

enum { RARE = 0 };
enum { WIDTH = 128, UNITS = 256, INPUTS = WIDTH + UNITS, GATES = 4 * UNITS };
enum { LANES = 4 };
typedef float Lanes __attribute__((vector_size(4 * LANES), aligned(4)));
enum { ONE = 8192 };  // 1.0 as an input of a product in integers; its sums stay within 31 bits

// What follows a history: the cell and the output of the LSTM, and the projection of the output.
typedef struct {
  float cell[UNITS], query[WIDTH];
  int16_t output[UNITS];
} Memory;

static double share;              // of the network in P_LM; 0: there is none
static float embedding_step;
static const int8_t *embeddings;  // (rows, WIDTH), times the step
static const float *biases;       // (rows,)
static int32_t *row_of;           // (words of the language model,)
static float *among_rare;         // (words of the language model,) ln P(word | RARE), or 0
static const int8_t *gates, *projection;  // (GATES, INPUTS), (WIDTH, UNITS), each row times its scale
static const float *gate_scales, *gate_biases, *projection_scales, *projection_biases;

// `data`: as Recurrent.packed gives it; it is the module's from then on. After the last level.
EXPORT(set_network) void set_network(const float *data, int32_t rows, double its_share, double step) {
  const uint32_t *own = (const uint32_t *)data;
  biases = data + rows - 1;
  gate_scales = biases + rows, gate_biases = gate_scales + GATES;
  projection_scales = gate_biases + GATES, projection_biases = projection_scales + WIDTH;
  embeddings = (const int8_t *)(projection_biases + WIDTH);
  gates = embeddings + (size_t)rows * WIDTH, projection = gates + GATES * INPUTS;
  share = its_share, embedding_step = (float)step;

  double rare = 0;
  row_of = allocate(unigrams * sizeof *row_of), among_rare = allocate(unigrams * sizeof *among_rare);
  memset(row_of, 0, unigrams * sizeof *row_of);  // RARE
  for (int32_t row = 1; row < rows; row++) row_of[own[row - 1]] = row;
  for (uint32_t word = 0; word < unigrams; word++) if (!row_of[word]) rare += exp(levels[0].log_probs[word]);
  for (uint32_t word = 0; word < unigrams; word++) {
    among_rare[word] = row_of[word] ? 0 : levels[0].log_probs[word] - (float)log(rare);
  }
}

// Four rows of weights, of `count` each, times the inputs.
static v128_t products(const int8_t *weights, const int16_t *inputs, int32_t count) {
  v128_t sums[4] = {0};
  for (int32_t i = 0; i < count; i += 16) {
    v128_t low = wasm_v128_load(inputs + i), high = wasm_v128_load(inputs + i + 8);
#pragma clang loop unroll(full)
    for (int32_t row = 0; row < 4; row++) {
      v128_t values = wasm_v128_load(weights + row * count + i);
      v128_t sum = wasm_i32x4_dot_i16x8(wasm_i16x8_extend_low_i8x16(values), low);
      sum = wasm_i32x4_add(sum, wasm_i32x4_dot_i16x8(wasm_i16x8_extend_high_i8x16(values), high));
      sums[row] = wasm_i32x4_add(sums[row], sum);
    }
  }
  v128_t one = wasm_i32x4_add(
      wasm_i32x4_shuffle(sums[0], sums[1], 0, 1, 4, 5), wasm_i32x4_shuffle(sums[0], sums[1], 2, 3, 6, 7));
  v128_t other = wasm_i32x4_add(
      wasm_i32x4_shuffle(sums[2], sums[3], 0, 1, 4, 5), wasm_i32x4_shuffle(sums[2], sums[3], 2, 3, 6, 7));
  return wasm_i32x4_add(wasm_i32x4_shuffle(one, other, 0, 2, 4, 6), wasm_i32x4_shuffle(one, other, 1, 3, 5, 7));
}

// Weights (rows, count) times their scales, times the inputs, plus biases → `sums` (rows,).
static void transform(
    const int8_t *weights, const float *scales, const float *added, const int16_t *inputs, int32_t rows, int32_t count,
    float *sums) {
  for (int32_t i = 0; i < rows; i += LANES) {
    Lanes sum = (Lanes)wasm_f32x4_convert_i32x4(products(weights + i * count, inputs, count));
    *(Lanes *)(sums + i) = *(const Lanes *)(added + i) + *(const Lanes *)(scales + i) / ONE * sum;
  }
}

// e^x to seven digits: 2 to the nearest integer, times a polynomial for the rest (Cephes).
static Lanes exponential(Lanes x) {
  x = (Lanes)wasm_f32x4_max(wasm_f32x4_min((v128_t)x, wasm_f32x4_const_splat(80)), wasm_f32x4_const_splat(-80));
  Lanes power = (Lanes)wasm_f32x4_nearest((v128_t)(x * 1.44269504f));
  x = x - power * 0.693359375f + power * 2.12194440e-4f;
  Lanes rest = ((((1.9875691500e-4f * x + 1.3981999507e-3f) * x + 8.3334519073e-3f) * x + 4.1665795894e-2f) * x +
                1.6666665459e-1f) * x + 5.0000001201e-1f;
  rest = rest * x * x + x + 1;
  return (Lanes)wasm_i32x4_add((v128_t)rest, wasm_i32x4_shl(wasm_i32x4_trunc_sat_f32x4((v128_t)power), 23));
}

static Lanes sigmoid(Lanes x) { return 1 / (1 + exponential(-x)); }

static Lanes hyperbolic_tangent(Lanes x) { return 2 * sigmoid(2 * x) - 1; }

static int16_t rounded(float value) { return (int16_t)fmaxf(-32767, fminf(32767, rintf(ONE * value))); }

// The memory after a word; `before` NULL: none.
static void remember(const Memory *before, uint32_t word, Memory *after) {
  int16_t inputs[INPUTS] = {0};
  float sums[GATES];
  const int8_t *row = embeddings + (size_t)WIDTH * row_of[word];
  for (int32_t i = 0; i < WIDTH; i++) inputs[i] = rounded(embedding_step * row[i]);
  if (before) memcpy(inputs + WIDTH, before->output, sizeof before->output);
  transform(gates, gate_scales, gate_biases, inputs, GATES, INPUTS, sums);
  for (int32_t i = 0; i < UNITS; i += LANES) {
    const Lanes *gate = (const Lanes *)(sums + i);  // input, forget, cell, output: UNITS apart
    Lanes cell = sigmoid(gate[0]) * hyperbolic_tangent(gate[2 * UNITS / LANES]);
    if (before) cell += sigmoid(gate[UNITS / LANES]) * *(const Lanes *)(before->cell + i);
    Lanes output = sigmoid(gate[3 * UNITS / LANES]) * hyperbolic_tangent(cell);
    *(Lanes *)(after->cell + i) = cell;
    for (int32_t lane = 0; lane < LANES; lane++) after->output[i + lane] = rounded(output[lane]);
  }
  transform(projection, projection_scales, projection_biases, after->output, WIDTH, UNITS, after->query);
}

// The log-probability of a word after what is remembered.
static double expected(const Memory *memory, uint32_t word) {
  int32_t row = row_of[word];
  float sum = 0;
  for (int32_t i = 0; i < WIDTH; i++) sum += memory->query[i] * embeddings[(size_t)WIDTH * row + i];
  return embedding_step * sum + biases[row] + among_rare[word];
}

// ln of the mixture of two probabilities.
static double mixed(double ngram, double network) {
  double a = ngram + log(1 - share), b = network + log(share), most = fmax(a, b);
  return most + log1p(exp(fmin(a, b) - most));
}
