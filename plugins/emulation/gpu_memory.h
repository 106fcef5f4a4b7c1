// The memories of the emulated GPU, which check every access. A failed check throws a
// std::runtime_error that names the bytes and the error.
#ifndef MBERT_PLUGINS_EMULATION_GPU_MEMORY_H_
#define MBERT_PLUGINS_EMULATION_GPU_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace mbert::cuda {

// The buffers that a kernel may access. Each access must be inside one of them, aligned to its
// size.
class GlobalMemory {
 public:
  enum class Access {
    kRead,
    // A launch may write each byte once, and read bytes that an earlier launch wrote.
    kWrite,
    kReadWrite,  // not checked
  };

  // The name is for messages. The caller keeps the memory alive.
  void add(std::string name, const void* data, std::size_t bytes, Access access);

  // Starts a new launch: all bytes written so far were written by an earlier one.
  void begin_launch();

  void check_read(const void* pointer, std::size_t bytes) const;
  void check_write(const void* pointer, std::size_t bytes);

  // Throws if a byte of the buffer was never written.
  void check_written(const std::string& name) const;

 private:
  struct Buffer {
    std::string name;
    std::uintptr_t begin;
    std::size_t bytes;
    Access access;
    std::vector<std::uint8_t> written;  // for each byte: the launch that wrote it, or 0
  };

  const Buffer& find(const void* pointer, std::size_t bytes) const;

  std::vector<Buffer> buffers_;
  std::uint8_t launch_ = 0;
};

// Shared memory of one block. Each word of 4 bytes records who wrote and who read it since which
// barrier. A race is found in any thread order: two threads access a word between the same two
// barriers, and one of them writes.
class SharedMemory {
 public:
  // Stands for a whole warp, in place of a thread.
  static constexpr int kWarp = -1;

  // The size is a multiple of 4.
  explicit SharedMemory(std::size_t bytes) : bytes_(bytes), words_(bytes / kWordBytes) {}

  // Marks all words as uninitialised, for a new block.
  void reset();

  // Orders all accesses before it before all accesses after it.
  void barrier() { ++epoch_; }

  // Accesses are aligned to their size, a multiple of 4. `line` is the line in the kernel's source,
  // for messages.
  void read(std::uint32_t offset, std::size_t bytes, int thread, int line, void* to);
  void write(std::uint32_t offset, std::size_t bytes, int thread, int line, const void* from);

  // Begins an asynchronous copy to these bytes, which must not be accessed until it has landed.
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
