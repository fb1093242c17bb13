# Test doubles of the seam; programs that serve must not link them.
longwave_library(fake_encoder
  SOURCES api/checking_encoder.cc api/fake_encoder.cc
  PUBLIC longwave::encoder_api)
