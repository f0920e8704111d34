#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Android)
    internal import Android
#elseif canImport(Darwin)
    internal import Darwin
#else
    #error("errno names are needed from the platform's C library")
#endif

/// The few errno values that get a sentence of their own.
enum SystemErrno {
    case connectionRefused, unreachable, timedOut, addressInUse, other

    init(_ code: CInt) {
        switch code {
        case ECONNREFUSED: self = .connectionRefused
        case EHOSTUNREACH, ENETUNREACH, ENETDOWN, EADDRNOTAVAIL: self = .unreachable
        case ETIMEDOUT: self = .timedOut
        case EADDRINUSE: self = .addressInUse
        default: self = .other
        }
    }
}
