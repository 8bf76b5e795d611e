/* A program that uses nothing, to be linked in different ways. With KERNELS it looks as one with
 * kernels does; with ELSEWHERE it leaves their registration to another library. */
#ifdef KERNELS
__attribute__((section(".nvFatBinSegment"), used)) static int segment[6] = {0x466243b1};
#endif
#ifdef ELSEWHERE
extern void **__cudaRegisterFatBinary(void *);
#endif
int main(void)
{
#ifdef ELSEWHERE
    return __cudaRegisterFatBinary(0) == 0;
#endif
    return 0;
}
