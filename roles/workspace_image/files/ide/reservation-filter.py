"""Writes a seccomp filter (a classic BPF program) to standard output, which prevents reserving disk space without
writing.

The API stops a seat that fills the disk (docs/limits.md), but fallocate(2) takes gigabytes within milliseconds. With
the filter it fails as on a file system that lacks it, and programs write instead, as posix_fallocate(3) does.
Punching holes stays allowed: it frees space. io_uring, which the filter can't see into, is off, as in Docker's own
profile since version 25.
"""

import struct
import sys

# The audit number of each architecture, and fallocate's number there. The last bit of x86-64's numbers tells x32 apart.
ARCHITECTURES = ((0xC000003E, 285), (0x40000003, 324), (0xC00000B7, 47), (0x40000028, 352))
IO_URING_SETUP = 425
KEEP_SIZE_AND_PUNCH_HOLE = 3
NUMBER, ARCHITECTURE, SECOND_ARGUMENT = 0, 4, 24  # offsets in struct seccomp_data, on little-endian machines
LOAD, AND, JUMP_IF_EQUAL, RETURN = 0x20, 0x54, 0x15, 0x06
ALLOW, FAIL = 0x7FFF0000, 0x00050000
ENOSYS, EOPNOTSUPP = 38, 95


def instruction(code, value, if_true=0, if_false=0):
    return struct.pack("=HBBI", code, if_true, if_false, value)


# Every block is as long, and what they jump to follows them.
BLOCK = 7
program = []
for place, (architecture, fallocate) in enumerate(ARCHITECTURES):
    rest = (len(ARCHITECTURES) - place - 1) * BLOCK
    program += [
        instruction(LOAD, ARCHITECTURE),
        instruction(JUMP_IF_EQUAL, architecture, 0, BLOCK - 2),
        instruction(LOAD, NUMBER),
        instruction(AND, 0xBFFFFFFF),
        instruction(JUMP_IF_EQUAL, fallocate, rest + 3, 0),
        instruction(JUMP_IF_EQUAL, IO_URING_SETUP, rest + 5, 0),
        instruction(RETURN, ALLOW),
    ]
program += [
    instruction(RETURN, ALLOW),  # another architecture
    instruction(LOAD, SECOND_ARGUMENT),  # what fallocate leads to; io_uring_setup, three further on
    instruction(JUMP_IF_EQUAL, KEEP_SIZE_AND_PUNCH_HOLE, 2, 0),
    instruction(RETURN, FAIL | EOPNOTSUPP),
    instruction(RETURN, FAIL | ENOSYS),
    instruction(RETURN, ALLOW),
]
sys.stdout.buffer.write(b"".join(program))
