// The memories of the emulated machine, which check every access. What a check finds is thrown as a
// std::runtime_error that says which bytes, and what is wrong with them.
#ifndef MBERT_PLUGINS_EMULATION_GPU_MEMORY_H_
#define MBERT_PLUGINS_EMULATION_GPU_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace mbert::cuda {

// The buffers that a kernel may touch. Every access has to lie in one of them, aligned to its size.
class GlobalMemory {
 public:
  enum class Access {
    kRead,
    // A launch writes no byte twice, and reads only what an earlier one wrote.
    kWrite,
    kReadWrite,  // anything goes
  };

  // The name is for messages. The bytes stay the caller's.
  void add(std::string name, const void* data, std::size_t bytes, Access access);

  // From here on, what was written counts as written by an earlier launch.
  void begin_launch();

  void check_read(const void* pointer, std::size_t bytes) const;
  void check_write(const void* pointer, std::size_t bytes);

  // Throws when no launch wrote some byte of the buffer of that name.
  void check_written(const std::string& name) const;

 private:
  struct Buffer {
    std::string name;
    std::uintptr_t begin;
    std::size_t bytes;
    Access access;
    std::vector<std::uint8_t> written;  // of each byte: by which launch; 0: by none
  };

  const Buffer& find(const void* pointer, std::size_t bytes) const;

  std::vector<Buffer> buffers_;
  std::uint8_t launch_ = 0;
};

// Shared memory of one block. Of every word of 4 bytes it knows who wrote and who read it since
// which barrier, so that a race is found in whatever order the threads happen to run: two threads
// touch a word between the same two barriers, and one of them writes.
class SharedMemory {
 public:
  // In place of a thread: a whole warp.
  static constexpr int kWarp = -1;

  // The size is a multiple of 4.
  explicit SharedMemory(std::size_t bytes) : bytes_(bytes), words_(bytes / kWordBytes) {}

  // Nothing is written: what a new block finds.
  void reset();

  // All accesses before it happen before all accesses after it.
  void barrier() { ++epoch_; }

  // Aligned to their size; the size is a multiple of 4. The line is that of the access in the
  // kernel's source, for messages.
  void read(std::uint32_t offset, std::size_t bytes, int thread, int line, void* to);
  void write(std::uint32_t offset, std::size_t bytes, int thread, int line, const void* from);

  // An asynchronous copy to these bytes begins: until it has landed they may not be touched.
  void begin_copy(std::uint32_t offset, std::size_t bytes, int thread, int line);
  void land_copy(std::uint32_t offset, std::size_t bytes, int thread, int line, const void* from);

 private:
  static constexpr std::size_t kWordBytes = 4;
  static constexpr int kNobody = -2;

  struct Touch {
    std::uint32_t epoch = 0;  // 0: never
    std::int16_t thread = kNobody;
    std::uint16_t line = 0;
  };
  struct Word {
    std::uint32_t value = 0;
    bool in_copy = false;
    Touch write;
    Touch read;
  };

  Word* words(std::uint32_t offset, std::size_t bytes);
  void claim(Word& word, std::uint32_t offset, int thread, int line);
  [[noreturn]] void race(std::uint32_t offset, const char* verb, const Touch& other) const;

  std::size_t bytes_;
  std::vector<Word> words_;
  std::uint32_t epoch_ = 1;
};

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_EMULATION_GPU_MEMORY_H_
