int shoal_engine_placeholder(void);
