#include "cli/magic.h"

#include <elf.h>
#include <stdio.h>
#include <string.h>

static const struct {
        size_t at;
        const char *bytes;
        size_t n;
        const char *name;
} table[] = {
#define MAGIC(at, bytes, name)                     \
        {                                          \
                at, bytes, sizeof(bytes) - 1, name \
        }
        MAGIC(0, "\037\213", "gzip"),
        MAGIC(0, "\x28\xb5\x2f\xfd", "zstd"),
        MAGIC(0,
              "\xfd"
              "7zXZ",
              "xz"),
        MAGIC(0, "BZh", "bzip2"),
        MAGIC(0, "\x04\x22\x4d\x18", "lz4"),
        MAGIC(0, "PK\003\004", "zip archive"),
        MAGIC(0, "PK\005\006", "empty zip archive"),
        MAGIC(257, "ustar", "tar archive"),
        MAGIC(0, "!<arch>\n", "ar archive"),
        MAGIC(0, "070701", "cpio archive"),
        MAGIC(0, "hsqs", "squashfs"),
        MAGIC(0, "\xed\xab\xee\xdb", "rpm package"),
        MAGIC(0, "\x89PNG\r\n", "PNG image"),
        MAGIC(0, "\xff\xd8\xff", "JPEG image"),
        MAGIC(0, "GIF8", "GIF image"),
        MAGIC(8, "WEBP", "WebP image"),
        MAGIC(0, "\0\0\001\0", "icon"),
        MAGIC(0, "%PDF-", "PDF"),
        MAGIC(0, "SQLite format 3", "SQLite database"),
        MAGIC(0, "\0asm", "WebAssembly module"),
        MAGIC(0, "MZ", "Windows program"),
        MAGIC(0, "\xca\xfe\xba\xbe", "Java class"),
        MAGIC(0, "\xde\x12\x04\x95", "message catalog"),
        MAGIC(0, "\x95\x04\x12\xde", "message catalog"),
        MAGIC(0, "wOF2", "font"),
        MAGIC(0, "wOFF", "font"),
        MAGIC(0, "OTTO", "font"),
        MAGIC(0, "\0\001\0\0\0", "font"),
        MAGIC(0, "TZif", "time zone"),
        MAGIC(2, "\r\n\0\0\0\0", "Python bytecode"), /* behind the version */
};

static const char *elf_machine(unsigned m)
{
        static const struct {
                unsigned number;
                const char *name;
        } machines[] = {
                {EM_X86_64, " x86-64"}, {EM_AARCH64, " aarch64"}, {EM_386, " i386"},
                {EM_ARM, " arm"},       {EM_PPC64, " ppc64"},     {EM_S390, " s390"},
                {EM_RISCV, " riscv"},   {EM_MIPS, " mips"},
        };

        for (size_t i = 0; i < ARRAY_LEN(machines); i++)
                if (machines[i].number == m)
                        return machines[i].name;
        return "";
}

void magic_name(const unsigned char *p, size_t n, char out[48])
{
        const char *name = "data";

        if (n >= 20 && memcmp(p, ELFMAG, SELFMAG) == 0) {
                unsigned lo = p[p[EI_DATA] == ELFDATA2MSB ? 19 : 18];
                unsigned hi = p[p[EI_DATA] == ELFDATA2MSB ? 18 : 19];

                (void)snprintf(out, 48, "ELF %s%s", p[EI_CLASS] == ELFCLASS64 ? "64-bit" : "32-bit",
                               elf_machine(hi << 8 | lo));
                return;
        }
        for (size_t i = 0; i < ARRAY_LEN(table); i++)
                if (table[i].at + table[i].n <= n &&
                    memcmp(p + table[i].at, table[i].bytes, table[i].n) == 0) {
                        name = table[i].name;
                        break;
                }
        (void)snprintf(out, 48, "%s", name);
}
