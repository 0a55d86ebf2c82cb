//! The exact writes, in order, against a small kernel that answers them.
mod binding;
mod errands;
mod guarded;
mod loading;
mod returning;
mod sim;
