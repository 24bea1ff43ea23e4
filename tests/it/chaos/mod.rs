//! Random faults under random traffic, decided by a seed that the test prints.

mod cluster;
mod device_sockets;
