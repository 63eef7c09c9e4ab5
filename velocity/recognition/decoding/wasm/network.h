// The recurrent network of the language model: an LSTM of words (Hochreiter & Schmidhuber 1997; Sundermeyer et al.
// 2012), as velocity/recognition/language_model/recurrent.py describes it. Its probabilities add up to about 1 without
// being divided by their sum, so a word costs one product of vectors, and a history one step. Row RARE is all words
// that have no row of their own.

#pragma once

#include <wasm_simd128.h>

#include "common.h"
#include "ngrams.h"

enum { RARE = 0 };
enum { WIDTH = 128, UNITS = 256, GATES = 4 * UNITS };
enum { ONE = 8192 };  // 1.0 as an output of the LSTM: sums of products with eight bits stay within 31

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
static const int8_t *gates, *projection;  // (GATES, WIDTH + UNITS), (WIDTH, UNITS), each row times its scale
static const float *gate_scales, *gate_biases, *projection_scales, *projection_biases;

// `data`: as Recurrent.packed gives it; it is the module's from then on. After the last level.
EXPORT(set_network) void set_network(const float *data, int32_t rows, double its_share, double step) {
  const uint32_t *own = (const uint32_t *)data;
  biases = data + rows - 1;
  gate_scales = biases + rows, gate_biases = gate_scales + GATES;
  projection_scales = gate_biases + GATES, projection_biases = projection_scales + WIDTH;
  embeddings = (const int8_t *)(projection_biases + WIDTH);
  gates = embeddings + (size_t)rows * WIDTH, projection = gates + GATES * (WIDTH + UNITS);
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

static int32_t product(const int8_t *weights, const int16_t *inputs, int32_t count) {
  v128_t sums = wasm_i32x4_const_splat(0);
  for (int32_t i = 0; i < count; i += 8) {
    sums = wasm_i32x4_add(sums, wasm_i32x4_dot_i16x8(wasm_i16x8_load8x8(weights + i), wasm_v128_load(inputs + i)));
  }
  return wasm_i32x4_extract_lane(sums, 0) + wasm_i32x4_extract_lane(sums, 1) + wasm_i32x4_extract_lane(sums, 2) +
         wasm_i32x4_extract_lane(sums, 3);
}

static float sigmoid(float x) { return 1 / (1 + expf(-x)); }

// The memory after a word; `before` NULL: none.
static void remember(const Memory *before, uint32_t word, Memory *after) {
  int16_t embedding[WIDTH];
  float sums[GATES];
  const int8_t *row = embeddings + (size_t)WIDTH * row_of[word], *gate = gates;
  for (int32_t i = 0; i < WIDTH; i++) embedding[i] = row[i];
  for (int32_t i = 0; i < GATES; i++, gate += WIDTH + UNITS) {
    float sum = embedding_step * product(gate, embedding, WIDTH);
    if (before) sum += 1.0f / ONE * product(gate + WIDTH, before->output, UNITS);
    sums[i] = gate_biases[i] + gate_scales[i] * sum;
  }
  for (int32_t i = 0; i < UNITS; i++) {  // input, forget, cell, output
    float kept = before ? sigmoid(sums[UNITS + i]) * before->cell[i] : 0;
    after->cell[i] = kept + sigmoid(sums[i]) * tanhf(sums[2 * UNITS + i]);
    after->output[i] = (int16_t)lrintf(ONE * sigmoid(sums[3 * UNITS + i]) * tanhf(after->cell[i]));
  }
  for (int32_t i = 0; i < WIDTH; i++) {
    float sum = projection_scales[i] / ONE * product(projection + UNITS * i, after->output, UNITS);
    after->query[i] = projection_biases[i] + sum;
  }
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
