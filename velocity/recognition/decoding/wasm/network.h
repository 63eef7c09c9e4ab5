// The recurrent network of the language model: an LSTM of words with a recurrent projection (Hochreiter & Schmidhuber
// 1997; Sak et al. 2014), as velocity/recognition/language_model/recurrent.py describes it. Its probabilities add up to
// about 1 without being divided by their sum, so a word costs one product of vectors, and a history one step. Row RARE
// is all words that have no row of their own.

#pragma once

#include <wasm_simd128.h>

#include "common.h"
#include "ngrams.h"

enum { RARE = 0 };
enum { WIDTH = 128, UNITS = 512, GATES = 4 * UNITS };
enum { LANES = 4 };
typedef float Lanes __attribute__((vector_size(4 * LANES), aligned(4)));
enum { MOST = 32767 };     // of an input of a product in integers, whose sums stay within 31 bits
enum { PREPARED = 512 };   // words whose share in the gates is remembered

// What follows a history: the cell and the output of the LSTM.
typedef struct {
  float cell[UNITS], output[WIDTH];
} Memory;

// What a word adds to the gates, by its row, or FREE.
typedef struct {
  int32_t row;
  float gates[GATES];
} Prepared;

static double share;              // of the network in P_LM; 0: there is none
static float embedding_step;
static const int8_t *embeddings;  // (rows, WIDTH), times the step
static const float *biases;       // (rows,)
static int32_t *row_of;           // (words of the language model,)
static float *among_rare;         // (words of the language model,) ln P(word | RARE), or 0
static const int8_t *input_gates, *output_gates, *projection;  // (GATES, WIDTH) twice, (WIDTH, UNITS); rows times scales
static const float *input_scales, *output_scales, *gate_biases, *projection_scales;
static Prepared *prepared;        // (PREPARED,) by row, the latest of those with the same remainder

// `data`: as Recurrent.packed gives it; it is the module's from then on. After the last level.
EXPORT(set_network) void set_network(const float *data, int32_t rows, double its_share, double step) {
  const uint32_t *own = (const uint32_t *)data;
  biases = data + rows - 1;
  input_scales = biases + rows, output_scales = input_scales + GATES, gate_biases = output_scales + GATES;
  projection_scales = gate_biases + GATES;
  embeddings = (const int8_t *)(projection_scales + WIDTH);
  input_gates = embeddings + (size_t)rows * WIDTH, output_gates = input_gates + GATES * WIDTH;
  projection = output_gates + GATES * WIDTH;
  share = its_share, embedding_step = (float)step;
  prepared = allocate(PREPARED * sizeof *prepared);
  for (int32_t i = 0; i < PREPARED; i++) prepared[i].row = FREE;

  double rare = 0;
  row_of = allocate(unigrams * sizeof *row_of), among_rare = allocate(unigrams * sizeof *among_rare);
  memset(row_of, 0, unigrams * sizeof *row_of);  // RARE
  for (int32_t row = 1; row < rows; row++) row_of[own[row - 1]] = row;
  for (uint32_t word = 0; word < unigrams; word++) if (!row_of[word]) rare += exp(levels[0].log_probs[word]);
  float log_rare = (float)log(rare);
  for (uint32_t word = 0; word < unigrams; word++) {
    among_rare[word] = row_of[word] ? 0 : levels[0].log_probs[word] - log_rare;
  }
}

// Four rows of weights, of `count` each, times the inputs.
static v128_t products(const int8_t *weights, const int16_t *inputs, int32_t count) {
  v128_t sums[4] = {0};
  for (int32_t i = 0; i < count; i += 8) {
    v128_t input = wasm_v128_load(inputs + i);
#pragma clang loop unroll(full)
    for (int32_t row = 0; row < 4; row++) {
      v128_t values = wasm_i16x8_load8x8(weights + row * count + i);
      sums[row] = wasm_i32x4_add(sums[row], wasm_i32x4_dot_i16x8(values, input));
    }
  }
  v128_t one = wasm_i32x4_add(
      wasm_i32x4_shuffle(sums[0], sums[1], 0, 1, 4, 5), wasm_i32x4_shuffle(sums[0], sums[1], 2, 3, 6, 7));
  v128_t other = wasm_i32x4_add(
      wasm_i32x4_shuffle(sums[2], sums[3], 0, 1, 4, 5), wasm_i32x4_shuffle(sums[2], sums[3], 2, 3, 6, 7));
  return wasm_i32x4_add(wasm_i32x4_shuffle(one, other, 0, 2, 4, 6), wasm_i32x4_shuffle(one, other, 1, 3, 5, 7));
}

// Weights (rows, count) times their scales and `step`, times the inputs → `sums` (rows,), or added to them.
static void transform(
    const int8_t *weights, const float *scales, float step, const int16_t *inputs, int32_t rows, int32_t count, int add,
    float *sums) {
  for (int32_t i = 0; i < rows; i += LANES) {
    Lanes product = (Lanes)wasm_f32x4_convert_i32x4(products(weights + i * count, inputs, count));
    Lanes *sum = (Lanes *)(sums + i);
    product *= *(const Lanes *)(scales + i) * step;
    *sum = add ? *sum + product : product;
  }
}

// The values (count,) as integers → what these are to be multiplied by.
static float rounded(const float *values, int32_t count, int16_t *integers) {
  Lanes most = {0};
  for (int32_t i = 0; i < count; i += LANES) {
    most = (Lanes)wasm_f32x4_max((v128_t)most, wasm_f32x4_abs(*(const v128_t *)(values + i)));
  }
  float largest = fmaxf(fmaxf(most[0], most[1]), fmaxf(most[2], most[3])), step = fmaxf(largest, 1e-9f) / MOST;
  for (int32_t i = 0; i < count; i += 2 * LANES) {
    v128_t low = wasm_i32x4_trunc_sat_f32x4(wasm_f32x4_nearest((v128_t)(*(const Lanes *)(values + i) / step)));
    v128_t high = wasm_i32x4_trunc_sat_f32x4(wasm_f32x4_nearest((v128_t)(*(const Lanes *)(values + i + LANES) / step)));
    wasm_v128_store(integers + i, wasm_i16x8_narrow_i32x4(low, high));
  }
  return step;
}

// e^x to seven digits: 2 to the nearest integer, times a polynomial for the rest (Cephes).
static Lanes exponential(Lanes x) {
  x = (Lanes)wasm_f32x4_max(wasm_f32x4_min((v128_t)x, wasm_f32x4_const_splat(40)), wasm_f32x4_const_splat(-40));
  Lanes power = (Lanes)wasm_f32x4_nearest((v128_t)(x * 1.44269504f));
  x = x - power * 0.693359375f + power * 2.12194440e-4f;
  Lanes rest = ((((1.9875691500e-4f * x + 1.3981999507e-3f) * x + 8.3334519073e-3f) * x + 4.1665795894e-2f) * x +
                1.6666665459e-1f) * x + 5.0000001201e-1f;
  rest = rest * x * x + x + 1;
  return (Lanes)wasm_i32x4_add((v128_t)rest, wasm_i32x4_shl(wasm_i32x4_trunc_sat_f32x4((v128_t)power), 23));
}

// What a word adds to the gates, with their biases (GATES,).
static const float *prepare(int32_t row) {
  Prepared *own = &prepared[row % PREPARED];
  if (own->row == row) return own->gates;
  int16_t inputs[WIDTH];
  for (int32_t i = 0; i < WIDTH; i++) inputs[i] = embeddings[(size_t)WIDTH * row + i];
  own->row = row;
  memcpy(own->gates, gate_biases, sizeof own->gates);
  transform(input_gates, input_scales, embedding_step, inputs, GATES, WIDTH, 1, own->gates);
  return own->gates;
}

// The memory after a word; `before` NULL: none.
static void remember(const Memory *before, uint32_t word, Memory *after) {
  int16_t integers[UNITS];
  float gates[GATES], hidden[UNITS];
  memcpy(gates, prepare(row_of[word]), sizeof gates);
  if (before) {
    float step = rounded(before->output, WIDTH, integers);
    transform(output_gates, output_scales, step, integers, GATES, WIDTH, 1, gates);
  }
  for (int32_t i = 0; i < UNITS; i += LANES) {
    const Lanes *gate = (const Lanes *)(gates + i);  // input, forget, cell, output: UNITS apart
    // sigmoid(input) · tanh(cell), and so for the output, over one denominator
    Lanes input = exponential(-gate[0]), forget = exponential(-gate[UNITS / LANES]);
    Lanes new = exponential(-2 * gate[2 * UNITS / LANES]), output = exponential(-gate[3 * UNITS / LANES]);
    Lanes cell = (1 - new) / ((1 + input) * (1 + new));
    if (before) cell += *(const Lanes *)(before->cell + i) / (1 + forget);
    Lanes rest = exponential(-2 * cell);
    *(Lanes *)(after->cell + i) = cell;
    *(Lanes *)(hidden + i) = (1 - rest) / ((1 + output) * (1 + rest));
  }
  float step = rounded(hidden, UNITS, integers);
  transform(projection, projection_scales, step, integers, WIDTH, UNITS, 0, after->output);
}

// The log-probability of a word after what is remembered.
static double expected(const Memory *memory, uint32_t word) {
  int32_t row = row_of[word];
  float sum = 0;
  for (int32_t i = 0; i < WIDTH; i++) sum += memory->output[i] * embeddings[(size_t)WIDTH * row + i];
  return embedding_step * sum + biases[row] + among_rare[word];
}

// ln of the mixture of two probabilities.
static double mixed(double ngram, double network) {
  double a = ngram + log(1 - share), b = network + log(share), most = fmax(a, b);
  return most + log1p(exp(fmin(a, b) - most));
}
