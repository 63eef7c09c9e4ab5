// The search for words in log-posteriors of phones: token passing (Young, Russell & Thornton 1989) through the tree of
// a lexicon, with CTC's blanks and repetitions, an n-gram language model and hot words. Compiled to WebAssembly
// (`make search`), it runs in browsers (velocity/web/search.js) and in Python (phone_search.py).
//
// A path is at a node of the tree, after a history of complete words. Paths at the same place get the same from
// whatever follows, so they are merged: their probabilities are added, and the better one's words are kept. As in a
// prefix beam search, those that end in the blank and those that end in their last label are told apart, because only
// the former can repeat that label.
//
// The score of a text is ln P_CTC + weight · ln P_LM + bonus · words + rewards of hot words. P_LM is an n-gram model's,
// or a mixture of it and of a recurrent network. All logarithms are natural. A module holds one vocabulary, which any
// number of searches use. Running out of memory ends in a trap.

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <wasm_simd128.h>

#ifndef SOURCE
#define SOURCE ""
#endif
#define EXPORT(name) __attribute__((export_name(#name)))

enum { BLANK = 0, BOUNDARY = 1, CLASSES = 48 };  // as in velocity/phones.py; BOUNDARY is between words
enum { UNKNOWN = 0, START = 1, END = 2 };        // words of every language model
enum { MOST_ORDER = 8 };                         // words of an n-gram
enum { NO_WORD = -1, NOTHING = -2 };             // in place of a word: phones that are no word's; no word ends here
enum { ROOT = 0, NO_PHRASE = 0 };                // the first node; no phrase of hot words has begun
enum { FREE = -1 };                              // in place of an index

static const double UNKNOWN_WORD = -10;  // nats added to the score of phones that are no word's, as in fusion.py
static const double UNKNOWN_PHONE = -2;  // nats for each of them, so that one "word" does not swallow a sentence
static const double AGREEMENT = 2;       // nats: other hypotheses are good if they are at most so much worse

// The SHA-256 digest of this file, by which a test sees that the module was made from it.
EXPORT(source) const char *source(void) { return SOURCE; }

// ---------------------------------------------------------------------------------------------------------- memory

static void *checked(void *memory) {
  if (!memory) __builtin_trap();
  return memory;
}

EXPORT(allocate) void *allocate(uint32_t bytes) { return checked(malloc(bytes ? bytes : 1)); }

EXPORT(release) void release(void *memory) { free(memory); }

// Room for `count` items of `bytes`, in a list that grows.
static void *room(void *items, int32_t *capacity, int32_t count, size_t bytes) {
  if (count <= *capacity) return items;
  *capacity = count > 2 * *capacity ? count : 2 * *capacity;
  return checked(realloc(items, *capacity * bytes));
}

// An index of items by three numbers: a hash table with open addressing, whose slots have the items' numbers or FREE.
typedef struct {
  int32_t *slots;
  uint32_t mask;
} Index;

static uint32_t hash(int32_t a, int32_t b, int32_t c) {
  uint64_t value = (uint64_t)(uint32_t)a * 0x9E3779B97F4A7C15u;
  value = (value ^ (value >> 29) ^ (uint32_t)b) * 0xBF58476D1CE4E5B9u;
  value = (value ^ (value >> 29) ^ (uint32_t)c) * 0x94D049BB133111EBu;
  return (uint32_t)(value >> 32);
}

// Empty, with room for so many items.
static void clear_index(Index *index, int32_t items) {
  uint32_t slots = 64;
  while (slots < 2u * (uint32_t)items) slots *= 2;
  if (!index->slots || slots > index->mask + 1) {
    index->slots = checked(realloc(index->slots, slots * sizeof *index->slots));
    index->mask = slots - 1;
  }
  memset(index->slots, 0xff, (index->mask + 1) * sizeof *index->slots);
}

// -------------------------------------------------------------------------------------------------- language model

// The n-grams of one length, as velocity/recognition/language_model/tables.py describes them. `context` has, for each
// row, the context that it is, or -1.
typedef struct {
  const uint32_t *words, *first;
  const float *log_probs, *backoffs;
  int32_t *context;
} Level;

static Level levels[MOST_ORDER];
static int32_t order;
static uint32_t unigrams;  // words of the language model

typedef struct {
  int32_t context[MOST_ORDER - 1];
} State;

// Levels are added from the unigrams on. The arrays are the module's from then on, but for `contexts` (count,).
EXPORT(add_level) void add_level(
    uint32_t rows, const uint32_t *words, const float *log_probs, uint32_t count, const uint32_t *contexts,
    const uint32_t *first, const float *backoffs) {
  if (!order) unigrams = rows;
  Level *level = &levels[order++];
  *level = (Level){words, first, log_probs, backoffs, allocate(rows * sizeof(int32_t))};
  memset(level->context, 0xff, rows * sizeof(int32_t));
  for (uint32_t i = 0; i < count; i++) level->context[contexts[i]] = (int32_t)i;
}

// The row of a word after a context of `length` words, or -1.
static int32_t find(int32_t length, int32_t context, uint32_t word) {
  const uint32_t *words = levels[length].words, *first = levels[length - 1].first;
  uint32_t from = first[context], to = first[context + 1], end = to;
  while (from < to) {
    uint32_t middle = (from + to) / 2;
    if (words[middle] < word) from = middle + 1;
    else to = middle;
  }
  return from < end && words[from] == word ? (int32_t)from : -1;
}

// The log-probability of a word, and the state after it.
static double score(const State *state, uint32_t word, State *after) {
  int32_t rows[MOST_ORDER] = {(int32_t)word}, longest = 0;  // of the n-grams that end with it, or -1
  for (int32_t length = 1; length < order; length++) {
    int32_t context = state->context[length - 1];
    rows[length] = context < 0 ? -1 : find(length, context, word);
    if (rows[length] >= 0) longest = length;
  }
  double total = levels[longest].log_probs[rows[longest]];
  for (int32_t length = longest + 1; length < order; length++) {
    int32_t context = state->context[length - 1];
    if (context >= 0) total += levels[length - 1].backoffs[context];
  }
  State next;  // `after` may be `state`
  for (int32_t i = 0; i < MOST_ORDER - 1; i++) {
    next.context[i] = i < order - 1 && rows[i] >= 0 ? levels[i].context[rows[i]] : -1;
  }
  if (after) *after = next;
  return total;
}

// ----------------------------------------------------------------------------------------------- recurrent network

// An LSTM of words (Hochreiter & Schmidhuber 1997; Sundermeyer et al. 2012), as
// velocity/recognition/language_model/recurrent.py describes it. Its probabilities add up to about 1 without being
// divided by their sum, so a word costs one product of vectors, and a history one step. Row RARE is all words that have
// no row of their own.
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

// --------------------------------------------------------------------------------------------------------- lexicon

// A beginning of a pronunciation. Its children are consecutive nodes, in the order of their phones.
typedef struct {
  uint64_t phones;               // bit p is set if a child is longer by phone p
  double ahead;                  // what it is worth (Ortmanns et al. 1996, "Language-model look-ahead")
  int32_t child, depth;          // the first child; how many phones it has
  int32_t spelled, homophones;   // the words that are pronounced so, in `spoken`
} Node;

static Node *nodes;
static int32_t nowhere;  // the last node: phones that no word begins with
static double weight, bonus;
static const uint32_t *known;  // (words,) the word's number in the language model
static const uint8_t *sounds;  // the phones of all words, one after the other
static uint32_t *sound;        // (words + 1,) where those of a word begin
static uint8_t *hot;           // (words,) whether it is a hot word
static int32_t *spoken;        // the words that have a pronunciation, by it
static int32_t spoken_count;

static int32_t length_of(int32_t word) { return (int32_t)(sound[word + 1] - sound[word]); }

// What follows so many phones of a word: 0 for its end, or one more than the phone.
static int32_t phone_after(int32_t word, int32_t count) {
  return count < length_of(word) ? 1 + sounds[sound[word] + count] : 0;
}

static double alone(int32_t word) { return weight * levels[0].log_probs[known[word]] + bonus; }

// `numbers` (words,): in the language model; these and `phones` are the module's from then on. `lengths` (words,): of
// their pronunciations.
EXPORT(set_words) void set_words(
    int32_t count, const uint32_t *numbers, const uint8_t *phones, const uint16_t *lengths, double lm_weight,
    double word_bonus) {
  known = numbers, sounds = phones, weight = lm_weight, bonus = word_bonus;
  hot = allocate(count);
  memset(hot, 0, count);
  sound = allocate((count + 1) * sizeof *sound);
  spoken = allocate(count * sizeof *spoken);
  sound[0] = 0;
  for (int32_t word = 0; word < count; word++) {
    sound[word + 1] = sound[word] + lengths[word];
    if (lengths[word]) spoken[spoken_count++] = word;
  }

  // The nodes, and the words of each one in `spoken`: first those that end there, then by the next phone.
  int32_t capacity = 0, words_room = 0, made = 1;
  int32_t *until = room(NULL, &words_room, 1, sizeof *until), *sorted = allocate(spoken_count * sizeof *sorted);
  nodes = room(NULL, &capacity, 1, sizeof *nodes);
  nodes[ROOT] = (Node){.ahead = 0};
  until[ROOT] = spoken_count;
  for (int32_t at = 0; at < made; at++) {
    int32_t depth = nodes[at].depth, first = nodes[at].spelled, places[CLASSES + 1];
    double best[CLASSES + 1];
    uint64_t there = 0;
    for (int32_t row = first; row < until[at]; row++) {  // a counting sort by what follows: the end or a phone
      int32_t next = phone_after(spoken[row], depth);
      if (!(there >> next & 1)) places[next] = 0, best[next] = -INFINITY;
      there |= (uint64_t)1 << next;
      places[next]++;
      best[next] = fmax(best[next], alone(spoken[row]));
    }
    nodes[at].phones = there >> 1;
    nodes[at].homophones = there & 1 ? places[0] : 0;
    nodes[at].child = made;
    int32_t place = first;
    for (uint64_t left = there; left; left &= left - 1) {
      int32_t next = __builtin_ctzll(left), count = places[next];
      places[next] = place, place += count;
      if (next == 0) continue;
      nodes = room(nodes, &capacity, made + 2, sizeof *nodes);
      until = room(until, &words_room, made + 1, sizeof *until);
      nodes[made] = (Node){.ahead = best[next], .depth = depth + 1, .spelled = place - count};
      until[made++] = place;
    }
    for (int32_t row = first; row < until[at]; row++) sorted[places[phone_after(spoken[row], depth)]++] = spoken[row];
    memcpy(spoken + first, sorted + first, (until[at] - first) * sizeof *spoken);
  }
  free(until), free(sorted);
  nodes = room(nodes, &capacity, made + 1, sizeof *nodes);
  nowhere = made;
  nodes[nowhere] = (Node){.ahead = weight * levels[0].log_probs[UNKNOWN] + bonus + UNKNOWN_WORD};
}

// The node that is longer by a phone.
static int32_t longer(int32_t node, int32_t phone) {
  uint64_t there = nodes[node].phones, bit = (uint64_t)1 << phone;
  return there & bit ? nodes[node].child + __builtin_popcountll(there & (bit - 1)) : nowhere;
}

// ------------------------------------------------------------------------------------------------------- hot words

// From a place in a phrase by a hot word to the next place, and the nats earned. Any other word leads to NO_PHRASE.
typedef struct {
  int32_t place, word, after;
  double earned;
} Spelling;

// What is lent at a node while a phrase is at a place.
typedef struct {
  int32_t place, node;
  double nats;
} Loan;

static Spelling *spellings;
static Loan *loans;
static int32_t spelling_count, spelling_room, loan_count, loan_room;
static Index spelling_index, loan_index;

static int32_t *spelling_slot(int32_t place, int32_t word) {
  uint32_t at = hash(place, word, 0) & spelling_index.mask;
  for (; spelling_index.slots[at] != FREE; at = (at + 1) & spelling_index.mask) {
    const Spelling *found = &spellings[spelling_index.slots[at]];
    if (found->place == place && found->word == word) break;
  }
  return &spelling_index.slots[at];
}

static int32_t *loan_slot(int32_t place, int32_t node) {
  uint32_t at = hash(place, node, 1) & loan_index.mask;
  for (; loan_index.slots[at] != FREE; at = (at + 1) & loan_index.mask) {
    const Loan *found = &loans[loan_index.slots[at]];
    if (found->place == place && found->node == node) break;
  }
  return &loan_index.slots[at];
}

static void add_loan(int32_t place, int32_t node, double nats) {
  if (2 * (loan_count + 1) > (int32_t)(loan_index.slots ? loan_index.mask : 0)) {
    clear_index(&loan_index, 2 * (loan_count + 1));
    for (int32_t i = 0; i < loan_count; i++) *loan_slot(loans[i].place, loans[i].node) = i;
  }
  int32_t *slot = loan_slot(place, node);
  if (*slot == FREE) {
    loans = room(loans, &loan_room, loan_count + 1, sizeof *loans);
    loans[loan_count] = (Loan){place, node, nats};
    *slot = loan_count++;
  } else if (nats > loans[*slot].nats) {
    loans[*slot].nats = nats;
  }
}

// The nats lent between words at a place.
EXPORT(lend) void lend(int32_t place, double nats) { add_loan(place, ROOT, nats); }

// At a place a hot word leads to the place `after` and earns so many nats. On its way the loan goes from `lent` to
// `whole` in proportion to its phones; of several words that begin so, the best one counts.
EXPORT(spell) void spell(int32_t place, int32_t word, int32_t after, double earned, double lent, double whole) {
  if (2 * (spelling_count + 1) > (int32_t)(spelling_index.slots ? spelling_index.mask : 0)) {
    clear_index(&spelling_index, 2 * (spelling_count + 1));
    for (int32_t i = 0; i < spelling_count; i++) *spelling_slot(spellings[i].place, spellings[i].word) = i;
  }
  hot[word] = 1;
  spellings = room(spellings, &spelling_room, spelling_count + 1, sizeof *spellings);
  spellings[spelling_count] = (Spelling){place, word, after, earned};
  *spelling_slot(place, word) = spelling_count++;
  int32_t node = ROOT, length = length_of(word);
  for (int32_t count = 1; count <= length; count++) {
    node = longer(node, sounds[sound[word] + count - 1]);
    add_loan(place, node, lent + (whole - lent) * count / length);
  }
}

static double loan(int32_t place, int32_t node) {
  double nats = 0;
  int32_t found = *loan_slot(NO_PHRASE, node);
  if (found != FREE) nats = loans[found].nats;
  if (place != NO_PHRASE && (found = *loan_slot(place, node)) != FREE) nats = fmax(nats, loans[found].nats);
  return nats;
}

static double follow_phrase(int32_t *place, int32_t word) {
  int32_t found = *spelling_slot(*place, word);
  if (found == FREE) found = *spelling_slot(NO_PHRASE, word);
  *place = found == FREE ? NO_PHRASE : spellings[found].after;
  return found == FREE ? 0 : spellings[found].earned;
}

// ---------------------------------------------------------------------------------------------------------- search

// The complete words: the state and the place in phrases of hot words are all that matters for those that follow.
// `before`, `word`: the history without the last one, and this. `first`: the first one that matters as much. `memory`:
// of the network, once a word has followed.
typedef struct {
  State state;
  int32_t place, before, word, first;
  Memory *memory;
} History;

// `blank`, `label`: the probabilities of the paths that end so, times what their complete words and phones of no word
// are worth, relative to the best path's. `entry`: of the last label in the trace.
typedef struct {
  int32_t history, node, last, entry;
  double blank, label;
} Path;

// A path that is longer by a label than the one at `source`. `mass`: the logarithm of its probability, times what
// phones of no word are worth. `estimate`: the same times what is ahead, or what the word is worth that ends, by its
// unigram.
typedef struct {
  int32_t source, node, last, word, history;
  double mass, estimate;
} Grown;

// Paths at one place; `from`: the best of them, among the paths of before, and then the grown ones.
typedef struct {
  int32_t history, node, last, from;
  double blank, label, most, rank, lent;
} Merged;

// A label of a path: the entry before it, the frame, the word that it ends, or NOTHING, and the last entry that ends a
// word. Entry 0 is the beginning.
typedef struct {
  int32_t before, label, frame, word, ended;
} Entry;

typedef struct {
  int32_t beam, alike, tokens;
  double floor, margin, scale;
  int32_t frames, path_count, path_room, grown_count, grown_room, merged_count, merged_room, entry_count, entry_room;
  int32_t history_count, history_room, kept_count, kept_room, rank_room, result_size, result_room;
  Path *paths, *before;
  Grown *grown;
  Merged *merged;
  Entry *trace;
  History *histories;
  int32_t *kept, *result;
  double *ranks;
  Index alike_index, apart_index, merged_index;
} Search;

// The slot of a history that matters as much, or of the one that follows `before` by the same word.
static int32_t *history_slot(const Search *search, const Index *index, const History *history, int by_words) {
  const int32_t *context = history->state.context;
  uint32_t at = by_words ? hash(history->before, history->word, 0) : hash(context[0], context[1], history->place);
  for (at &= index->mask; index->slots[at] != FREE; at = (at + 1) & index->mask) {
    const History *found = &search->histories[index->slots[at]];
    if (by_words) {
      if (found->before == history->before && found->word == history->word) break;
    } else if (found->place == history->place && !memcmp(&found->state, &history->state, sizeof(State))) {
      break;
    }
  }
  return &index->slots[at];
}

// The number of a history. Those that matter as much have one number, or, if they are kept apart, one for their words.
static int32_t number_of(Search *search, const History *history) {
  Index *alike = &search->alike_index, *apart = &search->apart_index;
  if (!alike->slots || 2 * search->history_count >= (int32_t)alike->mask) {
    clear_index(alike, 2 * (search->history_count + 1));
    clear_index(apart, 2 * (search->history_count + 1));
    for (int32_t i = 0; i < search->history_count; i++) {
      if (search->histories[i].first == i) *history_slot(search, alike, &search->histories[i], 0) = i;
      *history_slot(search, apart, &search->histories[i], 1) = i;
    }
  }
  int32_t *first = history_slot(search, alike, history, 0), *same = history_slot(search, apart, history, 1);
  int32_t found = search->alike > 1 ? *same : *first, number = search->history_count;
  if (found != FREE) return found;
  if (*first == FREE) *first = number;
  *same = number;
  search->histories = room(search->histories, &search->history_room, ++search->history_count, sizeof(History));
  search->histories[number] = *history;
  search->histories[number].first = *first;
  search->histories[number].memory = NULL;
  return number;
}

static uint32_t number_in_lm(int32_t word) { return word == NO_WORD ? UNKNOWN : known[word]; }

// What the network remembers of a history.
static const Memory *memory_of(Search *search, int32_t history) {
  History *own = &search->histories[history];
  if (!own->memory) {
    own->memory = allocate(sizeof(Memory));
    if (own->before < 0) remember(NULL, START, own->memory);
    else remember(memory_of(search, own->before), number_in_lm(own->word), own->memory);
  }
  return own->memory;
}

// What a word is worth that ends at a node after a history, which becomes the history after it.
static double follow(Search *search, int32_t history, int32_t node, int32_t word, History *after) {
  *after = search->histories[history];
  if (word == NOTHING) return 0;
  after->before = history, after->word = word;
  double log_prob = score(&after->state, number_in_lm(word), &after->state);
  if (share) log_prob = mixed(log_prob, expected(memory_of(search, history), number_in_lm(word)));
  double worth = weight * log_prob + bonus;
  if (word == NO_WORD) worth += UNKNOWN_WORD + UNKNOWN_PHONE * nodes[node].depth;
  if (word == NO_WORD || !spelling_count) after->place = NO_PHRASE;
  else worth += follow_phrase(&after->place, word);
  return worth;
}

// A search that keeps `beam` paths. Above 1, `alike` is how many different histories are kept that the language model
// and the hot words cannot tell apart. Paths grow by the `tokens` best classes of a frame, unless they are less
// probable than `floor`, and are dropped when worse than the best one by `margin`, natural logarithms. Nothing is
// pruned, and the scores are exact, if these are large enough and `floor` is minus infinity.
EXPORT(begin) Search *begin(int32_t beam, int32_t alike, int32_t tokens, double floor, double margin) {
  Search *search = allocate(sizeof *search);
  *search = (Search){.beam = beam, .alike = alike, .tokens = tokens, .floor = floor, .margin = margin};
  History history = {.place = NO_PHRASE, .before = -1, .word = NOTHING};
  State none;
  memset(&none, 0xff, sizeof none);
  score(&none, START, &history.state);
  search->paths = room(search->paths, &search->path_room, 1, sizeof(Path));
  search->paths[0] = (Path){.history = number_of(search, &history), .node = ROOT, .last = BLANK, .blank = 1};
  search->path_count = 1;
  search->trace = room(search->trace, &search->entry_room, 1, sizeof(Entry));
  search->trace[0] = (Entry){0, BLANK, -1, NOTHING, 0};
  search->entry_count = 1;
  return search;
}

EXPORT(end) void end(Search *search) {
  free(search->paths), free(search->before), free(search->grown), free(search->merged), free(search->trace);
  for (int32_t i = 0; i < search->history_count; i++) free(search->histories[i].memory);
  free(search->histories), free(search->kept), free(search->result), free(search->ranks);
  free(search->alike_index.slots), free(search->apart_index.slots), free(search->merged_index.slots);
  free(search);
}

// The classes that are probable enough, without the blank, in their order; `labels` (CLASSES,) → how many. If the blank
// is improbable, the best class must stay, however flat the distribution.
static int32_t candidates(const Search *search, const double *frame, int32_t *labels) {
  double most = -INFINITY, least = search->floor;
  for (int32_t label = 0; label < CLASSES; label++) if (label != BLANK) most = fmax(most, frame[label]);
  if (frame[BLANK] < search->floor) least = fmin(least, most);
  int32_t count = 0;
  for (int32_t label = 0; label < CLASSES; label++) {
    if (label == BLANK || frame[label] < least || frame[label] == -INFINITY) continue;
    int32_t better = 0;
    for (int32_t other = 0; other < CLASSES; other++) {
      better += other != BLANK && (frame[other] > frame[label] || (frame[other] == frame[label] && other < label));
    }
    if (better < search->tokens) labels[count++] = label;
  }
  return count;
}

static void add_grown(
    Search *search, double least, int32_t source, int32_t node, int32_t last, int32_t word, double mass, double ahead) {
  if (mass + ahead < least) return;
  search->grown = room(search->grown, &search->grown_room, search->grown_count + 1, sizeof(Grown));
  search->grown[search->grown_count++] = (Grown){source, node, last, word, 0, mass, mass + ahead};
}

// All paths that are longer by one of the labels, but for those whose estimates are below `least`.
static void grow(Search *search, const double *frame, const int32_t *labels, int32_t count, double least) {
  search->grown_count = 0;
  for (int32_t i = 0; i < search->path_count; i++) {
    Path path = search->paths[i];
    Node node = nodes[path.node];
    double in_any = log(path.blank + path.label), in_blank = log(path.blank);
    for (int32_t j = 0; j < count; j++) {
      int32_t label = labels[j];
      double mass = (label == path.last ? in_blank : in_any) + frame[label];
      if (!(mass > -INFINITY)) continue;
      if (label != BOUNDARY) {
        // Longer beginnings are worth no more than shorter ones, or nothing that a word begins with.
        if (path.node != ROOT && mass + fmax(node.ahead, nodes[nowhere].ahead) < least) continue;
        int32_t further = longer(path.node, label);
        if (further == nowhere) mass += UNKNOWN_PHONE * (node.depth + 1);
        add_grown(search, least, i, further, label, NOTHING, mass, nodes[further].ahead);
      } else if (path.node == ROOT) {
        add_grown(search, least, i, ROOT, label, NOTHING, mass, 0);
      } else if (!node.homophones) {
        add_grown(search, least, i, ROOT, label, NO_WORD, mass, nodes[nowhere].ahead + UNKNOWN_PHONE * node.depth);
      }
      for (int32_t row = 0; label == BOUNDARY && row < node.homophones; row++) {
        int32_t word = spoken[node.spelled + row];
        add_grown(search, least, i, ROOT, label, word, mass, alone(word));
      }
    }
  }
}

// The value that `most` of the `count` values reach; their order changes (Hoare 1961).
static double reached_by(double *values, int32_t count, int32_t most) {
  int32_t from = 0, to = count - 1, wanted = most - 1;
  while (from < to) {
    double pivot = values[from + (to - from) / 2];
    int32_t i = from, j = to;
    while (i <= j) {
      while (values[i] > pivot) i++;
      while (values[j] < pivot) j--;
      if (i <= j) {
        double swapped = values[i];
        values[i++] = values[j], values[j--] = swapped;
      }
    }
    if (wanted <= j) to = j;
    else if (wanted >= i) from = i;
    else break;
  }
  return values[wanted];
}

// The probability that a path stays at its place: in the blank and in its last label, if the frame has a chance of it.
static void stay(const Path *path, const double *probabilities, double *blank, double *label) {
  *blank = (path->blank + path->label) * probabilities[BLANK];
  *label = path->last == BLANK ? 0 : path->label * probabilities[path->last];
}

// The ranks of the paths if they stay, into `ranks` (paths,) → the best one.
static double ranks_of_staying(Search *search, const double *probabilities) {
  double most = -INFINITY;
  search->ranks = room(search->ranks, &search->rank_room, search->path_count, sizeof(double));
  for (int32_t i = 0; i < search->path_count; i++) {
    double blank, label;
    stay(&search->paths[i], probabilities, &blank, &label);
    search->ranks[i] = log(blank + label) + nodes[search->paths[i].node].ahead;
    most = fmax(most, search->ranks[i]);
  }
  return most;
}

// What these ranks and those of the grown paths must reach to be among the best.
static double least_rank(Search *search) {
  int32_t count = search->path_count + search->grown_count;
  if (count <= search->beam || search->margin == INFINITY) return -INFINITY;
  search->ranks = room(search->ranks, &search->rank_room, count, sizeof(double));
  for (int32_t i = 0; i < search->grown_count; i++) search->ranks[search->path_count + i] = search->grown[i].estimate;
  return reached_by(search->ranks, count, search->beam);
}

static void merge(
    Search *search, int32_t history, int32_t node, int32_t last, int32_t from, double blank, double label) {
  if (!(blank + label > 0)) return;
  Index *index = &search->merged_index;
  uint32_t at = hash(history, node, last) & index->mask;
  for (; index->slots[at] != FREE; at = (at + 1) & index->mask) {
    Merged *there = &search->merged[index->slots[at]];
    if (there->history != history || there->node != node || there->last != last) continue;
    there->blank += blank, there->label += label;
    if (blank + label > there->most) there->most = blank + label, there->from = from;
    return;
  }
  index->slots[at] = search->merged_count;
  search->merged[search->merged_count++] = (Merged){history, node, last, from, blank, label, blank + label, 0, 0};
}

static double value(const Merged *path, int loans_too) { return path->rank + (loans_too ? path->lent : 0); }

static const Merged *compared;  // by `best_first`
static int compared_with_loans;

static int best_first(const void *one, const void *other) {
  int32_t a = *(const int32_t *)one, b = *(const int32_t *)other;
  double first = value(&compared[a], compared_with_loans), second = value(&compared[b], compared_with_loans);
  return first > second ? -1 : first < second ? 1 : a - b;
}

// How many of the kept ones, from `first` on, get the same from whatever follows.
static int32_t alike_ones(const Search *search, int32_t first, const Merged *path) {
  int32_t count = 0;
  for (int32_t i = first; i < search->kept_count; i++) {
    const Merged *other = &search->merged[search->kept[i]];
    count += other->node == path->node && other->last == path->last &&
             search->histories[other->history].first == search->histories[path->history].first;
  }
  return count;
}

// Add the best merged paths to the kept ones, by their ranks with loans or without.
static void keep_best(Search *search, int loans_too) {
  int32_t first = search->kept_count, count = search->merged_count, near = 0;
  search->kept = room(search->kept, &search->kept_room, first + 2 * count, sizeof(int32_t));
  search->ranks = room(search->ranks, &search->rank_room, count, sizeof(double));
  int32_t *chosen = search->kept + first + count;
  double best = -INFINITY;
  for (int32_t i = 0; i < count; i++) best = fmax(best, value(&search->merged[i], loans_too));
  for (int32_t i = 0; i < count; i++) {
    double rank = value(&search->merged[i], loans_too);
    if (rank > best - search->margin) search->ranks[near] = rank, chosen[near++] = i;
  }
  if (near <= search->beam) {
    for (int32_t i = 0; i < near; i++) search->kept[search->kept_count++] = chosen[i];
  } else if (search->alike == 1) {
    double least = reached_by(search->ranks, near, search->beam);
    int32_t equal = search->beam;  // so many of those that just reach it have room
    for (int32_t i = 0; i < near; i++) equal -= value(&search->merged[chosen[i]], loans_too) > least;
    for (int32_t i = 0; i < near; i++) {
      double rank = value(&search->merged[chosen[i]], loans_too);
      if (rank > least || (rank == least && equal-- > 0)) search->kept[search->kept_count++] = chosen[i];
    }
  } else {
    compared = search->merged, compared_with_loans = loans_too;
    qsort(chosen, near, sizeof *chosen, best_first);
    for (int32_t i = 0; i < near && search->kept_count - first < search->beam; i++) {
      if (alike_ones(search, first, &search->merged[chosen[i]]) < search->alike) {
        search->kept[search->kept_count++] = chosen[i];
      }
    }
  }
}

// The kept paths, with entries in the trace for those that grew.
static void renew(Search *search) {
  int32_t count = search->path_count;
  search->before = checked(realloc(search->before, count * sizeof(Path)));
  memcpy(search->before, search->paths, count * sizeof(Path));
  search->paths = room(search->paths, &search->path_room, search->kept_count, sizeof(Path));
  search->trace = room(search->trace, &search->entry_room, search->entry_count + search->kept_count, sizeof(Entry));
  double most = 0;
  for (int32_t i = 0; i < search->kept_count; i++) {
    const Merged *path = &search->merged[search->kept[i]];
    most = fmax(most, path->blank + path->label);
  }
  for (int32_t i = 0; i < search->kept_count; i++) {
    const Merged *path = &search->merged[search->kept[i]];
    int32_t entry;
    if (path->from < count) {
      entry = search->before[path->from].entry;
    } else {
      const Grown *grown = &search->grown[path->from - count];
      int32_t before = search->before[grown->source].entry;
      entry = search->entry_count++;
      int32_t ended = grown->word == NOTHING ? search->trace[before].ended : entry;
      search->trace[entry] = (Entry){before, path->last, search->frames, grown->word, ended};
    }
    double blank = path->blank / most, label = path->label / most;
    search->paths[i] = (Path){path->history, path->node, path->last, entry, blank, label};
  }
  search->path_count = search->kept_count;
  search->scale += log(most);
}

static void step(Search *search, const double *frame, const int32_t *labels, int32_t label_count) {
  double probabilities[CLASSES] = {[BLANK] = exp(frame[BLANK])};  // 0 for labels that are left out
  for (int32_t i = 0; i < label_count; i++) probabilities[labels[i]] = exp(frame[labels[i]]);
  // Those would be dropped in the end, unless they were lent something.
  double hopeless = ranks_of_staying(search, probabilities) - search->margin;
  grow(search, frame, labels, label_count, loan_count ? -INFINITY : hopeless);
  double least = least_rank(search);
  int32_t most = search->path_count + search->grown_count;
  search->merged = room(search->merged, &search->merged_room, most, sizeof(Merged));
  search->merged_count = search->kept_count = 0;
  clear_index(&search->merged_index, most);
  for (int32_t i = 0; i < search->path_count; i++) {
    const Path *path = &search->paths[i];
    double blank, label;
    stay(path, probabilities, &blank, &label);
    merge(search, path->history, path->node, path->last, i, blank, label);
  }
  for (int32_t i = 0; i < search->grown_count; i++) {
    const Grown *grown = &search->grown[i];
    const Path *source = &search->paths[grown->source];
    double estimate = grown->estimate;
    if (loan_count && grown->last != BOUNDARY) {
      estimate += loan(search->histories[source->history].place, grown->node);
    }
    if (estimate < least && !(grown->word >= 0 && hot[grown->word])) continue;
    int32_t history = source->history;
    double mass = grown->mass;
    if (grown->word != NOTHING) {
      History after;
      mass += follow(search, source->history, source->node, grown->word, &after);
      history = number_of(search, &after);
    }
    merge(search, history, grown->node, grown->last, search->path_count + i, 0, exp(mass));
  }
  for (int32_t i = 0; i < search->merged_count; i++) {
    Merged *path = &search->merged[i];
    path->rank = log(path->blank + path->label) + nodes[path->node].ahead;
    if (loan_count) path->lent = loan(search->histories[path->history].place, path->node);
  }
  if (loan_count) {  // paths with loans must not crowd out those without
    keep_best(search, 1);
    int32_t preferred = search->kept_count;
    keep_best(search, 0);
    int32_t count = preferred;
    for (int32_t i = preferred; i < search->kept_count; i++) {
      int there = 0;
      for (int32_t j = 0; j < preferred && !there; j++) there = search->kept[j] == search->kept[i];
      if (!there) search->kept[count++] = search->kept[i];
    }
    search->kept_count = count;
  } else {
    keep_best(search, 0);
  }
  if (search->kept_count) renew(search);  // else the frame is impossible
}

// The next frames, log-posteriors (frames, CLASSES).
EXPORT(accept) void accept(Search *search, const double *log_probs, int32_t frames) {
  int32_t labels[CLASSES];
  for (; frames > 0; frames--, log_probs += CLASSES, search->frames++) {
    int32_t count = candidates(search, log_probs, labels);
    if (count) {
      step(search, log_probs, labels, count);
      continue;
    }
    for (int32_t i = 0; i < search->path_count; i++) {  // no path grows, and their order stays
      Path *path = &search->paths[i];
      path->blank += path->label, path->label = 0;
    }
    search->scale += fmax(log_probs[BLANK], log(1e-300));
  }
}

// --------------------------------------------------------------------------------------------------------- results

// Results are numbers, of which the first one says how many follow. They stay until the next ones.
static int32_t *new_numbers(Search *search, int32_t count) {
  int32_t size = search->result_size + count;
  search->result = room(search->result, &search->result_room, size, sizeof(int32_t));
  search->result_size = size;
  search->result[0] = size - 1;
  return search->result + size - count;
}

// The words of a path up to an entry → how many; in their order, if there is room for them.
static int32_t words_of(const Search *search, int32_t entry, int32_t *words) {
  int32_t count = 0;
  for (int32_t at = entry; (at = search->trace[at].ended); at = search->trace[at].before) count++;
  int32_t place = count;
  for (int32_t at = entry; words && (at = search->trace[at].ended); at = search->trace[at].before) {
    words[--place] = search->trace[at].word;
  }
  return count;
}

// Each word that may end a path: the score, a float64 in two numbers, the entry, the number of words, and these.
static void add_results(Search *search, const Path *path) {
  Node node = nodes[path->node];
  double mass = log(path->blank + path->label) + search->scale;
  for (int32_t row = 0; row < (node.homophones ? node.homophones : 1); row++) {
    int32_t word = node.homophones ? spoken[node.spelled + row] : path->node == ROOT ? NOTHING : NO_WORD;
    History after;
    double total = mass + follow(search, path->history, path->node, word, &after);
    double log_prob = score(&after.state, END, NULL);
    if (share) {
      Memory memory;
      const Memory *before = memory_of(search, path->history);
      if (word != NOTHING) remember(before, number_in_lm(word), &memory);
      log_prob = mixed(log_prob, expected(word != NOTHING ? &memory : before, END));
    }
    total += weight * log_prob;
    int32_t count = words_of(search, path->entry, NULL), last = word != NOTHING;
    int32_t *result = new_numbers(search, 4 + count + last);
    memcpy(result, &total, sizeof total);
    result[2] = path->entry, result[3] = count + last;
    words_of(search, path->entry, result + 4);
    if (last) result[4 + count] = word;
  }
}

// Of the frames so far, as if they were all.
EXPORT(results) const int32_t *results(Search *search) {
  search->result_size = 0;
  new_numbers(search, 1);
  for (int32_t i = 0; i < search->path_count; i++) add_results(search, &search->paths[i]);
  return search->result;
}

// Of the frames so far, if they are not all: how many words, from the first on, all paths have that are at most
// AGREEMENT worse than the best one; then the results of that one, with each word that it may have begun.
EXPORT(so_far) const int32_t *so_far(Search *search) {
  double most = -INFINITY;
  const Path *best = NULL;
  search->ranks = room(search->ranks, &search->rank_room, search->path_count, sizeof(double));
  for (int32_t i = 0; i < search->path_count; i++) {
    const Path *path = &search->paths[i];
    search->ranks[i] = log(path->blank + path->label) + nodes[path->node].ahead;
    if (search->ranks[i] > most) most = search->ranks[i], best = path;
  }
  int32_t agreed = words_of(search, best->entry, NULL);
  int32_t *words = allocate(agreed * sizeof *words);
  words_of(search, best->entry, words);
  for (int32_t i = 0; i < search->path_count; i++) {
    if (search->ranks[i] < most - AGREEMENT) continue;
    int32_t entry = search->paths[i].entry, count = words_of(search, entry, NULL);
    if (count < agreed) agreed = count;
    for (; (entry = search->trace[entry].ended); entry = search->trace[entry].before) {
      if (--count < agreed && search->trace[entry].word != words[count]) agreed = count;
    }
  }
  free(words);
  search->result_size = 0;
  new_numbers(search, 2)[1] = agreed;
  add_results(search, best);
  return search->result;
}

// The labels up to an entry, and the frame in which each appeared.
EXPORT(labels) const int32_t *labels(Search *search, int32_t entry) {
  int32_t count = 0;
  for (int32_t at = entry; at; at = search->trace[at].before) count++;
  search->result_size = 0;
  int32_t *next = new_numbers(search, 1 + 2 * count) + 1 + 2 * count;
  for (int32_t at = entry; at; at = search->trace[at].before) {
    *--next = search->trace[at].frame;
    *--next = search->trace[at].label;
  }
  return search->result;
}
